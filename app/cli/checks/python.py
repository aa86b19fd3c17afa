"""Python and the packages that the distribution asks for."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from app.cli.checks.finding import Finding
from app.observability.version import DISTRIBUTION

_FLOOR = (3, 11)


def check_python() -> Finding:
    """The interpreter."""
    found = f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    if sys.version_info < _FLOOR:
        return Finding.fail("python", found, "Claude Wrapper needs Python 3.11 or newer.")
    return Finding.ok("python", found)


def check_packages() -> Finding:
    """Whether every requirement is installed, in a version that is asked for."""
    try:
        wanted = [Requirement(text) for text in requires(DISTRIBUTION) or []]
    except PackageNotFoundError:
        return Finding.skip("packages", "run from a checkout that is not installed")
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [problem for one in needed if (problem := _problem(one))]
    if wrong:
        advice = f"Install it again: pip install --upgrade {DISTRIBUTION}"
        return Finding.fail("packages", "; ".join(wrong), advice)
    return Finding.ok("packages", f"{len(needed)} requirements are met")


def _problem(wanted: Requirement) -> str:
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is missing"
    if wanted.specifier.contains(found, prereleases=True):
        return ""
    return f"{wanted.name} {found} is not {wanted.specifier}"

"""``claude-wrapper doctor``: checks everything the gateway needs, and says what to do about each failure."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click
import msgspec

from app.cli.checks.finding import Finding, Outcome
from app.cli.checks.gateway import check_gateway, check_port
from app.cli.checks.identity import check_key_file, check_tokens
from app.cli.checks.monitoring import check_metrics, check_monitoring, latest_book
from app.cli.checks.python import check_packages, check_python
from app.cli.checks.receivers import check_collector, check_webhook
from app.cli.checks.store import check_store
from app.cli.checks.upstream import check_credential, check_upstream
from app.cli.errors import FAILED
from app.cli.instance import Instance
from app.cli.options import SETTINGS, chosen_port, serve_options
from app.cli.settings import check_settings, load_settings
from app.config import SettingError, data_root

_MARKS = {Outcome.OK: "ok", Outcome.WARN: "warn", Outcome.FAIL: "FAIL", Outcome.SKIP: "skip"}
_COLOURS = {Outcome.OK: "green", Outcome.WARN: "yellow", Outcome.FAIL: "red", Outcome.SKIP: "cyan"}


def doctor(bare_port: str | None, as_json: bool, **given: Any) -> int:
    """Check Python, packages, Anthropic, Redis, keys, tokens, alerts, metrics, traces, port and gateway.

    The exit status is 1 when a check fails.

    Takes the options of 'serve', so that what is checked is what would run, or what runs on that port. Costs one
    request of a few tokens when a gateway runs and is not a mock.
    """
    flags = {name: given[name] for name in SETTINGS} | {"port": chosen_port(bare_port, given["port"])}
    findings = []
    for finding in _examine(flags):
        findings.append(finding)
        if not as_json:
            _show(finding)
    failed = [finding for finding in findings if finding.outcome is Outcome.FAIL]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(findings), indent=2))
    else:
        click.echo(f"\n{_verdict(findings)}")
    return FAILED if failed else 0


def _examine(flags: dict[str, Any]) -> Iterator[Finding]:
    yield check_python()
    yield check_packages()
    try:
        config, _ = load_settings(os.environ, flags)
        check_settings(config, os.environ)
    except SettingError as exc:
        yield Finding.fail("settings", str(exc), "Correct it; 'claude-wrapper config' lists every setting.")
        return
    yield Finding.ok("settings", "all accepted")
    instance = Instance(data_root(config.data_dir, os.environ), config.port)
    running = instance.facts() if instance.running_pid() is not None else None
    if running is not None and running.mock:
        for name in ("credential", "upstream"):
            yield Finding.skip(name, "the running gateway answers from the simulator")
    else:
        if running is not None:
            config = msgspec.structs.replace(config, mock=False)
        yield check_credential(config)
        yield from check_upstream(config, os.environ)
    yield from check_store(config, instance, os.environ)
    yield check_key_file(config, now=time.time())
    yield check_tokens(config)
    yield check_monitoring(config, latest_book(config, instance), now=time.time())
    yield check_webhook(config, os.environ)
    yield check_metrics(config)
    yield from check_collector(config, os.environ)
    yield check_port(config, instance)
    yield check_gateway(config, instance)


def _verdict(findings: Sequence[Finding]) -> str:
    failed, warned = (
        sum(finding.outcome is outcome for finding in findings) for outcome in (Outcome.FAIL, Outcome.WARN)
    )
    warnings = f" {warned} {'warning' if warned == 1 else 'warnings'}." if warned else ""
    return (f"{failed} of {len(findings)} checks failed." if failed else "Nothing is wrong.") + warnings


def _show(finding: Finding) -> None:
    mark = click.style(_MARKS[finding.outcome].ljust(4), fg=_COLOURS[finding.outcome])
    click.echo(f"{mark}  {finding.name:<20}{finding.detail}")
    if finding.advice:
        click.echo(f"{'':<26}-> {finding.advice}")


command = click.Command(
    "doctor",
    callback=lambda no_interactive, daemon, **rest: doctor(**rest),
    help=doctor.__doc__,
    params=[*serve_options(), click.Option(["--json", "as_json"], is_flag=True, help="as a JSON array")],
)

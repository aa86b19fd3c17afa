"""The settings tables of the README, made from the settings themselves: ``poe readme-settings [--write]``.

``--write`` puts them between the markers ``<!-- settings: gateway -->`` (or ``simulator``) and ``<!-- /settings -->``;
without it they are printed. ``tests/unit/test_readme.py`` holds the README to them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

from app.config import Config, Help, accepts, env_names, settings_of, size_text
from workers.simulator.settings import SimulatorSettings

README = Path(__file__).parents[2] / "README.md"

#: Name of a table in the README's markers -> the settings that it lists.
TABLES: dict[str, type[Struct]] = {"gateway": Config, "simulator": SimulatorSettings}

_MARKED = re.compile(r"<!-- settings: (\w+) -->\n(.*?)<!-- /settings -->", re.DOTALL)


def table(struct: type[Struct]) -> str:
    """One line a setting: its variables, its default, what it is for and what it takes."""
    lines = ["| variable | default | meaning | takes |", "|---|---|---|---|"]
    for field, (help_, type_, default) in settings_of(struct).items():
        names = ", ".join(f"`{name}`" for name in env_names(field, help_))
        cells = (names, _shown(default, help_), help_.text, accepts(help_, type_))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def tables_in(readme: str) -> dict[str, str]:
    """The tables that stand in a README, by the name in their marker."""
    return {match.group(1): match.group(2) for match in _MARKED.finditer(readme)}


def with_tables(readme: str) -> str:
    """The README with every marked table as it has to be."""
    return _MARKED.sub(
        lambda match: f"<!-- settings: {match.group(1)} -->\n{table(TABLES[match.group(1)])}<!-- /settings -->", readme
    )


def _shown(default: Any, help_: Help) -> str:
    if default in ("", ()):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if help_.kind == "size":
        return f"`{size_text(default)}`"
    if isinstance(default, tuple):
        return f"`{','.join(map(str, default))}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def main(arguments: Iterable[str]) -> None:
    """Prints the tables, or writes them into the README."""
    if "--write" in arguments:
        README.write_text(with_tables(README.read_text()))
        return
    for name, struct in TABLES.items():
        print(f"<!-- settings: {name} -->\n{table(struct)}<!-- /settings -->\n")


if __name__ == "__main__":
    main(sys.argv[1:])

"""The README says what is true: its settings tables, its set-up commands."""

from __future__ import annotations

import re

import pytest

from tests.support.readme_settings import README, TABLES, table, tables_in, with_tables

_COMMAND = re.compile(r"<!-- command: (\w+) -->\n\s*((?:    .+\n)+)")


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text()


@pytest.mark.parametrize("name", TABLES)
def test_lists_exactly_the_settings(readme: str, name: str) -> None:
    expected = table(TABLES[name]).splitlines()

    assert tables_in(readme).get(name, "").splitlines() == expected, "run: poe readme-settings --write"


def test_has_two_set_up_commands_of_one_line_each(readme: str) -> None:
    commands = {name: lines.splitlines() for name, lines in _COMMAND.findall(readme)}

    assert sorted(commands) == ["start", "test"]
    assert [len(lines) for lines in commands.values()] == [1, 1]


@pytest.mark.parametrize(
    ("name", "ends_with", "requirements"),
    [("start", ".venv/bin/claude-wrapper --mock", "requirements.txt"), ("test", "poe test", "requirements-dev.txt")],
)
def test_set_up_command_installs_what_is_pinned(readme: str, name: str, ends_with: str, requirements: str) -> None:
    command = dict(_COMMAND.findall(readme))[name].strip()

    assert command.endswith(ends_with)
    assert f"-r {requirements} " in command


def test_a_wrong_table_is_replaced() -> None:
    readme = "before\n<!-- settings: gateway -->\n| old |\n<!-- /settings -->\nafter\n"

    written = with_tables(readme)

    assert tables_in(written) == {"gateway": table(TABLES["gateway"])}
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")

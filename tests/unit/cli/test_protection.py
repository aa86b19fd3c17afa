from __future__ import annotations

import pytest

from app.cli.protection import may_ask, new_key
from app.config import Config


class Terminal:
    def isatty(self) -> bool:
        return True


class Pipe:
    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("config", "no_interactive", "asks"),
    [
        (Config(), False, True),
        (Config(), True, False),
        (Config(api_key="k"), False, False),
        (Config(production=True), False, False),
    ],
)
def test_asks_only_when_there_is_something_to_ask(
    monkeypatch: pytest.MonkeyPatch, config: Config, no_interactive: bool, asks: bool
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stdout", Terminal())
    assert may_ask(config, no_interactive=no_interactive) is asks


@pytest.mark.parametrize(("stdin", "stdout"), [(Pipe(), Terminal()), (Terminal(), Pipe())])
def test_never_asks_without_a_terminal(monkeypatch: pytest.MonkeyPatch, stdin: object, stdout: object) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr("sys.stdout", stdout)
    assert not may_ask(Config(), no_interactive=False)


def test_keys_are_long_and_never_the_same() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("sk-cw-") and len(key) == 49 for key in keys)

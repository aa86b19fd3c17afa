"""The headers of the original wrapper: one has a meaning, the others are reported."""

from __future__ import annotations

from app.api.original_headers import ignored_claude_headers


def ignored(*names: str) -> tuple[str, ...]:
    return ignored_claude_headers([(name.encode(), b"1") for name in names])


def test_headers_for_a_claude_code_process_are_reported() -> None:
    names = ("x-claude-max-turns", "x-claude-allowed-tools", "x-claude-permission-mode")
    assert ignored("host", *names) == tuple(f"header.{name}" for name in names)


def test_the_thinking_budget_has_a_meaning() -> None:
    assert ignored("x-claude-max-thinking-tokens") == ()


def test_our_own_headers_are_not_the_originals() -> None:
    assert ignored("x-claude-wrapper-strict") == ()


def test_a_repeated_header_is_reported_once() -> None:
    assert ignored("x-claude-max-turns", "x-claude-max-turns") == ("header.x-claude-max-turns",)


def test_other_headers_are_none_of_them() -> None:
    assert ignored("x-claudette", "anthropic-beta", "authorization") == ()

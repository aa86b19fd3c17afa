from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from app.cli.session_words import (
    duration,
    figures_in_words,
    session_in_words,
    sessions_in_a_table,
    whose_in_words,
)
from app.domain.session_objects import session_object
from app.domain.sessions import SessionHead, SessionName
from app.schemas.sessions import SessionFigures, SessionObject

NOW = 1_800_000_000.0


def session(session_id: str = "trip", *messages: Any, scope: str = "ann", dropped: int = 0) -> SessionObject:
    return session_object(
        SessionName("t", scope, session_id),
        SessionHead(seq=1, messages=4, size_bytes=900, dropped=dropped, created_at=NOW - 7200, used_at=NOW - 75),
        expires_at=NOW + 3525,
        tenant="acme",
        messages=[Raw(msgspec.json.encode(message)) for message in messages],
    )


def told(*messages: Any) -> str:
    return session_in_words(session("trip", *messages), now=NOW, store="redis://x")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m 0s"), (3599, "59m 59s"), (3600, "1h 0m"), (190_000, "2d 4h")],
)
def test_durations_have_their_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_table_is_aligned_and_says_whose_and_how_long() -> None:
    assert sessions_in_a_table([session(), session("x", scope="*")], now=NOW).splitlines() == [
        "TENANT  KEY       ID    MESSAGES  IDLE    EXPIRES IN",
        "acme    ann       trip  4         1m 15s  58m 45s",
        "acme    (shared)  x     4         1m 15s  58m 45s",
    ]


def test_a_table_shows_what_was_dropped_where_something_was_and_cuts_long_ids() -> None:
    head, first, second = sessions_in_a_table([session("x" * 128), session("y", dropped=2)], now=NOW).splitlines()
    assert "DROPPED" in head
    assert f" {'x' * 37}... " in first
    assert second.split()[2:5] == ["y", "4", "2"]


def test_a_session_says_everything_about_itself() -> None:
    assert told().splitlines() == [
        "  id             trip",
        "  tenant         acme",
        "  key            ann",
        "  messages       4",
        "  size           900 bytes",
        "  created        2027-01-15 06:00:00Z",
        "  last used      2027-01-15 07:58:45Z, 1m 15s ago",
        "  expires in     58m 45s",
        "  store          redis://x",
    ]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ({"role": "user", "content": "Hi\nthere"}, "user: Hi\nthere"),
        ({"role": "assistant", "content": None}, "assistant: "),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": "data:"}],
            },
            "user: Look\n[image_url]",
        ),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, "assistant: No."),
        (
            {
                "role": "assistant",
                "content": "Wait.",
                "tool_calls": [
                    {"type": "function", "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}},
                    {"type": "custom", "id": "b", "custom": {"name": "g", "input": "text"}},
                ],
            },
            'assistant: Wait.\nf({"x":1})\ng(text)',
        ),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, "assistant: f({})"),
    ],
)
def test_messages_are_told_in_short(message: Any, line: str) -> None:
    assert told(message).endswith(f"\n\n{line}")


def test_no_message_commands_the_terminal() -> None:
    words = told({"role": "user", "content": "\x1b[2J\x9b31m\r\x07 tab\t."})
    assert words.endswith("user: \ufffd[2J\ufffd31m\ufffd\ufffd tab\t.")


def test_figures_in_words() -> None:
    figures = SessionFigures(
        total_sessions=3,
        active_sessions=2,
        expired_sessions=1,
        average_message_count=2.5,
        oldest_session_age=90.0,
        max_sessions=1000,
        ttl=3600,
    )
    assert figures_in_words(figures, store="redis://x").splitlines() == [
        "  live           2",
        "  expired        1, still in the index",
        "  messages       2.5 a session",
        "  oldest         1m 30s",
        "  at most        1000 of a tenant",
        "  kept for       1h 0m unused",
        "  store          redis://x",
    ]


def test_whose_a_session_is() -> None:
    assert whose_in_words(SessionName("t", "ann", "trip"), "acme") == "session trip of key ann of tenant acme"
    assert whose_in_words(SessionName("t", "*", "trip"), "acme") == "session trip shared by the keys of tenant acme"

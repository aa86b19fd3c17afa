"""``claude-wrapper sessions`` as a user calls it, on a real server."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from app.domain.auth import tenant_tag
from app.domain.sessions import SessionHead, SessionName, StoredTurn
from app.state import connect, keys
from app.state.sessions import commit_turn, open_turn, read_head, seat_session
from tests.support.gateway import gateway_command
from tests.support.processes import clean_environment
from tests.support.redis import RedisServer, redis_servers, server

__all__ = ["redis_servers", "server"]


class Sessions:
    """The command, on one store."""

    def __init__(self, store: RedisServer, **env: str) -> None:
        self.store = store
        self._env = clean_environment({"CLAUDE_WRAPPER_REDIS_URL": store.url, **env})

    def ran(self, *args: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            gateway_command("sessions", *args),
            env=self._env, input=typed, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def said(self, *args: str) -> str:
        ran = self.ran(*args)
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout

    def json(self, *args: str) -> dict[str, Any]:
        said = self.said(*args, "--json")
        assert said.count("\n") == 1
        answered: dict[str, Any] = json.loads(said)
        return answered

    def refused(self, *args: str) -> tuple[int, str]:
        ran = self.ran(*args)
        assert ran.stdout == ""
        assert ran.stderr.count("\n") == 1
        return ran.returncode, ran.stderr.removeprefix("claude-wrapper: ")

    def listed(self, *args: str) -> list[tuple[str, str, str]]:
        return [(one["tenant"], one["key_id"], one["id"]) for one in self.json("list", *args)["data"]]

    def made(self, *sessions: tuple[str, str, str], asked: str = "Where to?", listed: bool = True) -> None:
        """Sessions of ``(tenant, key, id)``, each with a question and an answer."""
        asyncio.run(_make(self.store.url, sessions, asked, listed=listed))

    def is_there(self, tenant: str, key: str, session_id: str) -> bool:
        async def read() -> bool:
            state = connect(self.store.url, timeout_s=5.0)
            try:
                return await read_head(state, _name(tenant, key, session_id)) is not None
            finally:
                await state.close()

        return asyncio.run(read())


def _name(tenant: str, key: str, session_id: str) -> SessionName:
    return SessionName(tenant_tag(tenant), key, session_id)


async def _make(url: str, made: Sequence[tuple[str, str, str]], asked: str, *, listed: bool) -> None:
    state = connect(url, timeout_s=5.0)
    turn = StoredTurn(
        at=1.0,
        messages=Raw(msgspec.json.encode([{"role": "user", "content": asked}])),
        count=1,
        answer=Raw(b'[{"type":"text","text":"To Rome."}]'),
    )
    for tenant, key, session_id in made:
        name = _name(tenant, key, session_id)
        await open_turn(state, name, "h", channel="c", ttl_s=3600)
        head = await commit_turn(
            state,
            name,
            "h",
            tenant=tenant,
            base=SessionHead(),
            turns=[turn],
            instructions=None,
            drop_turns=0,
            drop_messages=0,
            drop_bytes=0,
            ttl_s=3600,
        )
        if listed:
            await seat_session(
                state,
                "r",
                name,
                expected_tokens=1,
                most_tokens=1,
                messages=head.messages,
                created_at=head.created_at,
                ttl_s=3600,
                max_sessions=10_000,
            )
    await state.close()


A, B, C = ("acme", "ann", "trip"), ("acme", "bob", "trip"), ("other", "*", "note")


@pytest.fixture
def sessions(server: RedisServer) -> Sessions:
    return Sessions(server)


def test_all_sessions_are_listed_the_last_used_first(sessions: Sessions) -> None:
    sessions.made(A, B, C)
    assert sessions.listed() == [C, B, A]
    assert sessions.listed("--tenant", "acme") == [B, A]
    assert sessions.listed("--key-id", "ann") == [A]
    assert sessions.listed("--tenant", "other", "--key-id", "*") == [C]
    head, *rows = sessions.said("list").splitlines()
    assert head.split() == ["TENANT", "KEY", "ID", "MESSAGES", "IDLE", "EXPIRES", "IN"]
    assert rows[0].split()[:4] == ["other", "(shared)", "note", "2"]
    assert rows[-1].startswith("3 in ")


def test_more_sessions_than_a_page_are_all_listed_once(sessions: Sessions) -> None:
    made = [("acme", f"key-{number % 3}", f"s-{number}") for number in range(1100)]
    sessions.made(*made)
    assert sessions.listed() == made[::-1]
    assert sessions.listed("--key-id", "key-1") == [one for one in made[::-1] if one[1] == "key-1"]


def test_a_session_is_shown_with_its_messages(sessions: Sessions) -> None:
    sessions.made(A, C)
    shown = sessions.json("show", "trip")
    assert (shown["id"], shown["tenant"], shown["key_id"], shown["message_count"]) == ("trip", "acme", "ann", 2)
    assert shown["expires_at"] == shown["last_used_at"] + 3600
    assert [message["content"] for message in shown["messages"]] == ["Where to?", "To Rome."]
    said = sessions.said("show", "trip")
    assert "  tenant         acme\n" in said
    assert said.endswith("\n\nuser: Where to?\n\nassistant: To Rome.\n")


def test_one_of_several_with_the_same_id_has_to_be_named(sessions: Sessions) -> None:
    sessions.made(A, B)
    for action in ("show", "delete"):
        status, said = sessions.refused(action, "trip")
        assert status == 2
        assert "There are 2 sessions 'trip': session trip of key bob of tenant acme; session trip of key ann" in said
        assert "--tenant and --key-id" in said
    assert sessions.json("show", "trip", "--key-id", "bob")["key_id"] == "bob"


def test_a_deleted_session_is_gone_and_no_other(sessions: Sessions) -> None:
    sessions.made(A, B)
    said = sessions.said("delete", "trip", "--key-id", "ann")
    assert said.startswith("Session trip of key ann of tenant acme is deleted in ")
    assert sessions.listed() == [B]
    assert not sessions.is_there(*A)
    assert sessions.json("delete", "trip") == {"id": "trip", "object": "session.deleted", "deleted": True}
    assert "There are no live sessions in " in sessions.said("list")


def test_a_session_that_is_in_no_list_is_found_by_all_its_names(sessions: Sessions) -> None:
    sessions.made(A, listed=False)
    assert sessions.refused("show", "trip")[0] == 1
    full = ("trip", "--tenant", "acme", "--key-id", "ann")
    assert sessions.json("show", *full)["message_count"] == 2
    sessions.said("delete", *full)
    assert not sessions.is_there(*A)


def test_clear_asks_before_it_deletes(sessions: Sessions) -> None:
    sessions.made(A, B, C)
    ran = sessions.ran("clear", "--tenant", "acme", typed="n\n")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("Delete all 2 live sessions of tenant acme in ")
    assert sessions.ran("clear").returncode == 1
    assert len(sessions.listed()) == 3
    ran = sessions.ran("clear", "--tenant", "acme", typed="y\n")
    assert ran.stdout.startswith("2 sessions of tenant acme are deleted in ")
    assert sessions.listed() == [C]
    assert sessions.json("clear", "--yes") == {"object": "sessions.cleared", "deleted": 1}
    assert sessions.listed() == []


def test_where_there_are_none_clear_says_so_and_does_not_ask(sessions: Sessions) -> None:
    sessions.made(B)
    assert sessions.said("clear", "--key-id", "ann").startswith("There are no live sessions of key ann in ")
    assert sessions.said("clear", "--yes", "--tenant", "other").startswith("There are no live sessions of tenant other")
    assert sessions.json("clear", "--tenant", "other") == {"object": "sessions.cleared", "deleted": 0}
    assert sessions.listed() == [B]


def test_the_sessions_of_one_key_are_cleared(sessions: Sessions) -> None:
    sessions.made(A, B)
    assert sessions.json("clear", "--yes", "--key-id", "ann")["deleted"] == 1
    assert sessions.listed() == [B]


def test_figures_are_of_all_tenants_or_of_one(sessions: Sessions) -> None:
    sessions.made(A, B, C)
    figures = sessions.json("stats")
    assert 0 <= figures.pop("oldestSessionAge") < 60
    assert figures == {
        "totalSessions": 3,
        "activeSessions": 3,
        "expiredSessions": 0,
        "averageMessageCount": 2.0,
        "maxSessions": 1000,
        "ttl": 3600,
    }
    assert sessions.json("stats", "--tenant", "acme", "--key-id", "bob")["totalSessions"] == 1
    assert sessions.json("stats", "--tenant", "nobody")["totalSessions"] == 0
    assert "  live           2\n" in sessions.said("stats", "--tenant", "acme")


def test_figures_name_the_bounds_of_this_environment(server: RedisServer) -> None:
    bounded = Sessions(server, CLAUDE_WRAPPER_MAX_SESSIONS="7", CLAUDE_WRAPPER_SESSION_TTL="60")
    figures = bounded.json("stats")
    assert (figures["maxSessions"], figures["ttl"], figures["oldestSessionAge"]) == (7, 60, 0)


@pytest.mark.parametrize(
    ("args", "status", "complaint"),
    [
        ((), 2, "Say what is to be done: list, show, stats, delete, clear."),
        (("show",), 2, "Missing argument 'ID'"),
        (("show", "nowhere"), 1, "There is no session 'nowhere'."),
        (("delete", "nowhere", "--tenant", "a", "--key-id", "b"), 1, "There is no session 'nowhere'."),
        (("show", "a b"), 2, "The id of a session"),
        (("list", "--tenant", "a b"), 2, "--tenant"),
        (("list", "--key-id", "a b"), 2, "--key-id"),
        (("list", "--redis-url", "memory://"), 2, "/v1/sessions"),
        (("list", "--redis-url", "unix:///nowhere/s"), 1, "is not available"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    sessions: Sessions, args: tuple[str, ...], status: int, complaint: str
) -> None:
    answered, said = sessions.refused(*args)
    assert (answered, complaint in said) == (status, True), said


def test_a_session_that_cannot_be_read_is_an_error_and_can_be_deleted(sessions: Sessions) -> None:
    sessions.made(A)
    sessions.store.ask("LSET", keys.turns(tenant_tag("acme"), _name(*A).sid), 0, "damaged")
    status, said = sessions.refused("show", "trip")
    assert (status, "cannot be read" in said) == (1, True)
    sessions.said("delete", "trip")
    assert not sessions.is_there(*A)

"""``/v1/sessions`` over the store in memory: what each route answers, who may see what, and how it is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from msgspec import Raw
from openapi_schema_validator import OAS30Validator

from app.api.errors import EXCEPTION_HANDLERS
from app.api.middleware import GatewayApp
from app.api.openapi import build_document
from app.api.sessions import SessionsController
from app.config import Config
from app.domain.auth import tenant_tag
from app.domain.key_file import parse_key_file
from app.domain.sessions import SessionHead, SessionName, StoredTurn
from app.gateway.services import Services
from app.gateway.session_book import hold_session, let_go
from app.schemas.admin import NewKey
from app.state import api_keys, sessions
from tests.support.asgi import Reply, call
from tests.support.services import NOW, StateAway, make_services

ADMIN = "admin-key-for-tests"
ANN, BOB, OTHER = "key-of-ann-for-tests", "key-of-bob-for-tests", "key-of-another-tenant"
NO_SESSIONS, TEAM, TEAM_TOO = "key-for-inference-only", "key-that-shares-for-tests", "key-that-shares-too"

_FILE = f"""
keys:
  - {{key: {ANN}, id: ann, tenant: acme}}
  - {{key: {BOB}, id: bob, tenant: acme}}
  - {{key: {OTHER}, id: ann, tenant: other}}
  - {{key: {NO_SESSIONS}, id: none, tenant: acme, scopes: [inference]}}
  - {{key: {TEAM}, id: team, tenant: acme, cache: {{share_within: tenant}}}}
  - {{key: {TEAM_TOO}, id: team-too, tenant: acme, cache: {{share_within: tenant}}}}
"""

SYSTEM = {"role": "system", "content": "You plan trips."}
ASKED = {"role": "user", "content": "Where to?"}
SAID = {"role": "assistant", "content": "To Rome."}


def turn(asked: str, answer: list[dict[str, Any]]) -> StoredTurn:
    """What a chat completion would have committed."""
    messages = Raw(msgspec.json.encode([{"role": "user", "content": asked}]))
    return StoredTurn(
        at=NOW, messages=messages, count=1, answer=Raw(msgspec.json.encode(answer)), model="claude-opus-5"
    )


class Sessions:
    """The routes of a gateway, and the store behind it."""

    def __init__(self, services: Services) -> None:
        self.services = services
        services.take_up_keys(parse_key_file(_FILE, "yaml"))
        self.litestar = Litestar(
            route_handlers=[SessionsController],
            dependencies={"services": Provide(lambda: services, sync_to_thread=False)},
            exception_handlers=EXCEPTION_HANDLERS,
            logging_config=None,
            openapi_config=None,
            state=State({"services": services}),
        )
        self._app = GatewayApp(self.litestar, services)

    async def ask(
        self, method: str, path: str = "", body: Any = None, *, key: str | None = ANN, query: str = ""
    ) -> Reply:
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return await call(self._app, method, f"/v1/sessions{path}", headers=headers, body=raw, query=query)

    async def told(self, schema: str, *args: Any, status: int = 200, **kwargs: Any) -> dict[str, Any]:
        """The body of a reply, which has to be as it is documented."""
        reply = await self.ask(*args, **kwargs)
        assert reply.status == status, reply.body
        body: dict[str, Any] = reply.json()
        components = json.loads(build_document(self.litestar, protected=True))["components"]
        OAS30Validator({"$ref": f"#/components/schemas/{schema}", "components": components}).validate(body)
        assert reply.headers["cache-control"] == "no-store"
        return body

    async def made(self, session_id: str, *messages: Any, key: str = ANN, query: str = "") -> dict[str, Any]:
        wire = {"id": session_id, **({"messages": messages} if messages else {})}
        return await self.told("SessionObject", "POST", "", wire, status=201, key=key, query=query)

    async def ids(self, key: str | None = ANN, query: str = "") -> list[str]:
        page = await self.told("SessionList", "GET", key=key, query=query)
        return [session["id"] for session in page["data"]]

    def name(self, session_id: str, scope: str = "ann") -> SessionName:
        return SessionName(tenant_tag("acme"), scope, session_id)


async def started(**settings: Any) -> AsyncIterator[Sessions]:
    services = make_services(config=Config(admin_key=ADMIN, **settings))
    yield Sessions(services)
    await services.close()
    await services.state.close()


@pytest.fixture
async def routes() -> AsyncIterator[Sessions]:
    async for found in started():
        yield found


@pytest.fixture
async def small() -> AsyncIterator[Sessions]:
    async for found in started(max_sessions=2, session_max_messages=4, session_max_bytes=2000, session_wait_s=0):
        yield found


# Making


async def test_a_session_begins_with_the_messages_that_come_with_it(routes: Sessions) -> None:
    reply = await routes.ask("POST", "", {"id": "trip", "messages": [SYSTEM, ASKED, SAID]})
    made = reply.json()
    assert (reply.status, reply.headers["x-claude-wrapper-session"]) == (201, "trip")
    assert (made["id"], made["object"], made["message_count"], made["dropped_messages"]) == ("trip", "session", 3, 0)
    assert made["expires_at"] == made["last_used_at"] + 3600
    assert made["created_at"] == made["last_used_at"]
    assert made["size_bytes"] == len(msgspec.json.encode([SYSTEM])) + len(msgspec.json.encode([ASKED, SAID]))
    shown = await routes.told("SessionObject", "GET", "/trip")
    assert shown == {**made, "messages": [SYSTEM, ASKED, SAID]}


@pytest.mark.parametrize("body", [None, {}, {"id": None}])
async def test_a_session_without_an_id_gets_one(routes: Sessions, body: Any) -> None:
    made = await routes.told("SessionObject", "POST", "", body, status=201)
    assert made["id"].startswith("sess_")
    assert made["message_count"] == 0
    assert (await routes.told("SessionObject", "GET", f"/{made['id']}"))["messages"] == []


async def test_what_is_there_is_not_made_again(routes: Sessions) -> None:
    await routes.made("trip", ASKED)
    reply = await routes.ask("POST", "", {"id": "trip"})
    assert (reply.status, reply.error["code"], reply.error["param"]) == (409, "session_exists", "id")
    assert (await routes.told("SessionObject", "GET", "/trip"))["message_count"] == 1


async def test_the_longest_idle_session_goes_for_a_new_one_and_the_reply_says_so(small: Sessions) -> None:
    for session_id in ("first", "second"):
        await small.made(session_id)
    reply = await small.ask("POST", "", {"id": "third"})
    assert (reply.status, reply.headers["x-claude-wrapper-session-evicted"]) == (201, "first")
    assert await small.ids() == ["third", "second"]
    await small.services.close()
    assert (await small.ask("GET", "/first")).status == 404


async def test_who_else_lost_a_session_is_not_told(small: Sessions) -> None:
    await small.made("secret-name", key=BOB)
    await small.made("second")
    reply = await small.ask("POST", "", {"id": "third"})
    assert reply.headers["x-claude-wrapper-session-evicted"] == "1 of another key"


# Appending


async def test_messages_are_added_at_the_end(routes: Sessions) -> None:
    await routes.made("trip", SYSTEM)
    appended = await routes.told("SessionObject", "POST", "/trip/messages", {"messages": [ASKED, SAID]})
    assert (appended["message_count"], appended["dropped_messages"]) == (3, 0)
    assert (await routes.told("SessionObject", "GET", "/trip"))["messages"] == [SYSTEM, ASKED, SAID]


async def test_instructions_that_are_there_are_not_added_again(routes: Sessions) -> None:
    await routes.made("trip", SYSTEM)
    appended = await routes.told("SessionObject", "POST", "/trip/messages", {"messages": [SYSTEM, ASKED]})
    assert appended["message_count"] == 2


async def test_the_oldest_whole_turns_go_for_new_messages_and_the_reply_says_so(small: Sessions) -> None:
    await small.made("trip", ASKED, SAID, {"role": "user", "content": "And then?"})
    reply = await small.ask("POST", "/trip/messages", {"messages": [SAID, ASKED]})
    assert reply.headers["x-claude-wrapper-session-dropped"] == "2"
    assert (reply.json()["message_count"], reply.json()["dropped_messages"]) == (3, 2)
    shown = (await small.ask("GET", "/trip")).json()["messages"]
    assert shown == [{"role": "user", "content": "And then?"}, SAID, ASKED]


async def test_a_session_that_is_not_there_is_not_begun_by_appending(routes: Sessions) -> None:
    reply = await routes.ask("POST", "/trip/messages", {"messages": [ASKED]})
    assert (reply.status, reply.error["code"]) == (404, "session_not_found")
    assert await routes.ids() == []
    assert (await routes.ask("POST", "", {"id": "trip"})).status == 201


async def test_a_turn_that_holds_the_session_for_too_long_is_409(small: Sessions) -> None:
    await small.made("trip", ASKED)
    await hold_session(small.services, small.name("trip"), "turn-1", wait_s=0)
    reply = await small.ask("POST", "/trip/messages", {"messages": [ASKED]})
    assert (reply.status, reply.error["code"]) == (409, "conversation_locked")
    await let_go(small.services, small.name("trip"), "turn-1")
    assert (await small.ask("POST", "/trip/messages", {"messages": [SAID]})).status == 200


# Forking


async def test_a_fork_is_a_copy_and_leaves_the_original(routes: Sessions) -> None:
    original = await routes.made("trip", SYSTEM, ASKED, SAID)
    copy = await routes.told("SessionObject", "POST", "/trip/fork", {"id": "by-train"}, status=201)
    assert (copy["id"], copy["message_count"], copy["size_bytes"]) == ("by-train", 3, original["size_bytes"])
    await routes.told("SessionObject", "POST", "/by-train/messages", {"messages": [ASKED]})
    assert (await routes.told("SessionObject", "GET", "/trip"))["messages"] == [SYSTEM, ASKED, SAID]
    assert (await routes.told("SessionObject", "GET", "/by-train"))["messages"] == [SYSTEM, ASKED, SAID, ASKED]


async def test_a_fork_without_an_id_gets_one(routes: Sessions) -> None:
    await routes.made("trip", ASKED)
    assert (await routes.told("SessionObject", "POST", "/trip/fork", status=201))["id"].startswith("sess_")


async def test_a_session_is_forked_while_a_turn_runs(small: Sessions) -> None:
    await small.made("trip", ASKED)
    await hold_session(small.services, small.name("trip"), "turn-1", wait_s=0)
    assert (await small.told("SessionObject", "POST", "/trip/fork", status=201))["message_count"] == 1


async def test_a_fork_takes_nobodys_place(routes: Sessions) -> None:
    await routes.made("trip", ASKED)
    await routes.made("there")
    reply = await routes.ask("POST", "/trip/fork", {"id": "there"})
    assert (reply.status, reply.error["code"]) == (409, "session_exists")
    assert (await routes.ask("POST", "/nowhere/fork")).error["code"] == "session_not_found"


# Reading and deleting


async def test_an_answer_is_shown_as_a_reply_has_it_thinking_included(routes: Sessions) -> None:
    name = routes.name("trip")
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    called = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
    await sessions.open_turn(routes.services.state, name, "turn-1", channel="c", ttl_s=60)
    await sessions.commit_turn(
        routes.services.state,
        name,
        "turn-1",
        tenant="acme",
        base=SessionHead(),
        turns=[turn("Where to?", [thought, {"type": "text", "text": "Rome."}, called])],
        instructions=None,
        drop_turns=0,
        drop_messages=0,
        drop_bytes=0,
        ttl_s=60,
    )
    asked, answer = (await routes.told("SessionObject", "GET", "/trip"))["messages"]
    assert asked == ASKED
    assert (answer["role"], answer["content"], answer["reasoning_content"]) == ("assistant", "Rome.", "Hm.")
    assert answer["thinking_blocks"] == [thought]
    assert answer["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]


async def test_a_deleted_session_is_gone(routes: Sessions) -> None:
    await routes.made("trip", ASKED)
    gone = await routes.told("SessionDeletion", "DELETE", "/trip")
    assert gone == {"id": "trip", "object": "session.deleted", "deleted": True}
    assert await routes.ids() == []
    assert (await routes.ask("GET", "/trip")).error["code"] == "session_not_found"
    assert (await routes.ask("DELETE", "/trip")).error["code"] == "session_not_found"


async def test_clear_deletes_the_callers_sessions_and_nobody_elses(routes: Sessions) -> None:
    for session_id in ("a", "b"):
        await routes.made(session_id)
    await routes.made("c", key=BOB)
    assert await routes.told("SessionsCleared", "POST", "/clear") == {"object": "sessions.cleared", "deleted": 2}
    assert (await routes.ids(), await routes.ids(key=BOB)) == ([], ["c"])


async def test_sessions_are_listed_in_pages_the_last_used_first(routes: Sessions) -> None:
    for session_id in ("a", "b", "c"):
        await routes.made(session_id)
    await routes.told("SessionObject", "POST", "/a/messages", {"messages": [ASKED]})
    first = await routes.told("SessionList", "GET", query="limit=2")
    assert [session["id"] for session in first["data"]] == ["a", "c"]
    assert (first["first_id"], first["last_id"], first["has_more"]) == ("a", "c", True)
    assert (first["data"][0]["message_count"], "messages" in first["data"][0]) == (1, False)
    second = await routes.told("SessionList", "GET", query="limit=2&after=c")
    assert ([session["id"] for session in second["data"]], second["has_more"]) == (["b"], False)
    nothing = await routes.told("SessionList", "GET", key=BOB)
    assert nothing == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


async def test_the_figures_have_the_names_of_the_original(routes: Sessions) -> None:
    await routes.made("a", ASKED, SAID)
    await routes.made("b", ASKED)
    figures = await routes.told("SessionFigures", "GET", "/stats")
    assert 0 <= figures.pop("oldestSessionAge") < 60
    assert figures == {
        "totalSessions": 2,
        "activeSessions": 2,
        "expiredSessions": 0,
        "averageMessageCount": 1.5,
        "maxSessions": 1000,
        "ttl": 3600,
    }


# Whose


async def test_nobody_sees_sessions_of_another_key_or_tenant(routes: Sessions) -> None:
    await routes.made("trip", ASKED)
    for key in (BOB, OTHER, TEAM):
        assert await routes.ids(key=key) == []
        for method, path, body in (
            ("GET", "/trip", None),
            ("DELETE", "/trip", None),
            ("POST", "/trip/fork", None),
            ("POST", "/trip/messages", {"messages": [ASKED]}),
        ):
            assert (await routes.ask(method, path, body, key=key)).error["code"] == "session_not_found"
    await routes.made("trip", key=BOB)
    assert (await routes.told("SessionObject", "GET", "/trip"))["message_count"] == 1


async def test_keys_that_share_see_each_others_sessions(routes: Sessions) -> None:
    await routes.made("trip", ASKED, key=TEAM)
    assert await routes.ids(key=TEAM_TOO) == ["trip"]
    assert (await routes.told("SessionObject", "GET", "/trip", key=TEAM_TOO))["messages"] == [ASKED]


async def test_the_deployment_may_let_all_keys_of_a_tenant_share() -> None:
    async for routes in started(share_within="tenant"):
        await routes.made("trip")
        assert (await routes.ids(key=BOB), await routes.ids(key=OTHER)) == (["trip"], [])


async def test_the_operator_sees_a_tenants_sessions_and_whose_they_are(routes: Sessions) -> None:
    await routes.made("a")
    await routes.made("a", key=BOB)
    await routes.made("z", key=OTHER)
    first = await routes.told("SessionList", "GET", key=ADMIN, query="tenant=acme&limit=1")
    assert [(session["id"], session["key_id"]) for session in first["data"]] == [("a", "bob")]
    assert first["last_id"] == "bob a"
    second = await routes.told("SessionList", "GET", key=ADMIN, query="tenant=acme&after=bob%20a")
    assert [(session["id"], session["key_id"]) for session in second["data"]] == [("a", "ann")]
    assert (await routes.told("SessionFigures", "GET", "/stats", key=ADMIN, query="tenant=acme"))["totalSessions"] == 2


async def test_the_operator_acts_on_the_sessions_of_a_key(routes: Sessions) -> None:
    of_ann = "tenant=acme&key_id=ann"
    await routes.made("trip", ASKED, key=ADMIN, query=of_ann)
    shown = await routes.told("SessionObject", "GET", "/trip")
    assert (shown["messages"], "key_id" in shown) == ([ASKED], False)
    told = await routes.told("SessionObject", "GET", "/trip", key=ADMIN, query=of_ann)
    assert told == {**shown, "tenant": "acme", "key_id": "ann"}
    assert (await routes.ask("DELETE", "/trip", key=ADMIN, query="tenant=acme&key_id=bob")).status == 404
    assert (await routes.ask("DELETE", "/trip", key=ADMIN, query=of_ann)).status == 200


async def test_the_operator_finds_a_tenants_shared_sessions_by_the_tenant_alone(routes: Sessions) -> None:
    await routes.made("trip", ASKED, key=TEAM)
    told = await routes.told("SessionObject", "GET", "/trip", key=ADMIN, query="tenant=acme")
    assert told["key_id"] == "*"


@pytest.mark.parametrize("key_id", ["*", "%2A"])
async def test_the_operator_acts_on_the_shared_sessions_alone(routes: Sessions, key_id: str) -> None:
    shared = f"tenant=acme&key_id={key_id}"
    await routes.made("note", ASKED, key=TEAM)
    await routes.made("trip", ASKED)
    assert await routes.ids(key=ADMIN, query=shared) == ["note"]
    told = await routes.told("SessionObject", "GET", "/note", key=ADMIN, query=shared)
    assert (told["tenant"], told["key_id"]) == ("acme", "*")
    assert (await routes.told("SessionFigures", "GET", "/stats", key=ADMIN, query=shared))["totalSessions"] == 1
    assert (await routes.ask("POST", "/clear", key=ADMIN, query=shared)).json()["deleted"] == 1
    assert await routes.ids(key=ADMIN, query="tenant=acme") == ["trip"]


async def test_a_stored_key_is_found_by_its_id_alone(routes: Sessions) -> None:
    issued = await api_keys.create(routes.services.state, NewKey(tenant="acme"), actor="test:1", now=NOW)
    await routes.made("trip", ASKED, key=issued.text)
    told = await routes.told("SessionList", "GET", key=ADMIN, query=f"key_id={issued.key.id}")
    assert [(session["id"], session["key_id"]) for session in told["data"]] == [("trip", issued.key.id)]
    unknown = await routes.ask("GET", key=ADMIN, query="key_id=nobody")
    assert (unknown.status, unknown.error["code"], unknown.error["param"]) == (404, "key_not_found", "key_id")


_ALL = [
    ("GET", "", None),
    ("POST", "", {}),
    ("GET", "/stats", None),
    ("POST", "/clear", None),
    ("GET", "/trip", None),
    ("DELETE", "/trip", None),
    ("POST", "/trip/messages", {"messages": [ASKED]}),
    ("POST", "/trip/fork", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), _ALL)
async def test_every_route_asks_for_the_scope_before_anything_else(method: str, path: str, body: Any) -> None:
    state = StateAway()
    routes = Sessions(make_services(config=Config(admin_key=ADMIN), state=state))
    denied = await routes.ask(method, path, b"not json", key=NO_SESSIONS)
    assert (denied.status, denied.error["code"]) == (403, "permission_denied")
    not_admin = await routes.ask(method, path, b"not json", query="tenant=other")
    assert (not_admin.status, not_admin.error["code"]) == (403, "permission_denied")
    assert (await routes.ask(method, path, b"not json", key=ADMIN)).status == 403
    assert (await routes.ask(method, path, b"not json", key=None)).status == 401
    assert state.asked == 0


@pytest.mark.parametrize(("method", "path", "body"), _ALL)
async def test_every_route_is_503_while_the_store_is_away(method: str, path: str, body: Any) -> None:
    reply = await Sessions(make_services(config=Config(admin_key=ADMIN), state=StateAway())).ask(method, path, body)
    assert (reply.status, reply.error["code"]) == (503, "state_unavailable")
    assert int(reply.headers["retry-after"]) > 0
    assert reply.headers["x-claude-wrapper-degraded"] == "state"


async def test_on_an_open_gateway_everybody_has_the_same_sessions_and_no_others() -> None:
    services = make_services()
    routes = Sessions(services)
    services.gate.key_file = parse_key_file("keys: []", "yaml")
    assert (await routes.ask("POST", "", {"id": "trip"}, key=None)).status == 201
    assert [session["id"] for session in (await routes.ask("GET", key=None)).json()["data"]] == ["trip"]
    assert (await routes.ask("GET", key=None, query="tenant=acme")).status == 401
    await services.state.close()


# What is refused


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("", b"{", None, "invalid_json"),
        ("", {"name": "x"}, "name", "unknown_parameter"),
        ("", {"id": 5}, "id", "invalid_type"),
        ("", {"id": ""}, "id", "invalid_value"),
        ("", {"id": "a b"}, "id", "invalid_value"),
        ("", {"id": "x" * 129}, "id", "invalid_value"),
        ("", {"messages": "hi"}, "messages", "invalid_type"),
        ("", {"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ("", {"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ("", {"messages": [{**ASKED, "colour": "red"}]}, "messages[0].colour", "unknown_parameter"),
        ("", {"messages": [{**ASKED, "content": "x" * 2000}]}, "messages", "session_too_large"),
        ("", {"messages": [ASKED] * 5}, "messages", "session_too_large"),
        ("/trip/messages", None, None, "invalid_json"),
        ("/trip/messages", {}, "messages", "missing_required_parameter"),
        ("/trip/messages", {"messages": []}, "messages", "invalid_value"),
        ("/trip/messages", {"messages": [ASKED] * 5}, "messages", "session_too_large"),
        ("/trip/fork", {"id": "-"}, "id", "invalid_value"),
        ("/trip/fork", {"id": ["a"]}, "id", "invalid_type"),
        ("/trip/fork", {"messages": [ASKED]}, "messages", "unknown_parameter"),
        ("/a%20b/fork", {}, "id", "invalid_value"),
    ],
)
async def test_a_wrong_body_or_id_is_400_and_names_the_field(
    small: Sessions, path: str, body: Any, param: str | None, code: str
) -> None:
    await small.made("trip", ASKED)
    reply = await small.ask("POST", path.replace("%20", " "), body)
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, param, code), reply.body
    assert (await small.told("SessionObject", "GET", "/trip"))["messages"] == [ASKED]
    assert await small.ids() == ["trip"]


async def test_an_id_of_another_type_is_refused_in_the_words_of_the_chat_route(routes: Sessions) -> None:
    message = (await routes.ask("POST", "", {"id": 5})).error["message"]
    assert message == "Invalid type for 'id': expected a string, but got an integer instead."


@pytest.mark.parametrize("name", ["stats", "clear"])
async def test_a_name_that_is_a_route_says_so(routes: Sessions, name: str) -> None:
    reply = await routes.ask("POST", "", {"id": name})
    assert (reply.status, reply.error["param"], "reserved" in reply.error["message"]) == (400, "id", True)


async def test_what_was_refused_leaves_the_session_free(small: Sessions) -> None:
    await small.made("trip", ASKED)
    await small.ask("POST", "/trip/messages", {"messages": [ASKED] * 5})
    await small.ask("POST", "", {"id": "trip"})
    assert (await small.ask("POST", "/trip/messages", {"messages": [SAID]})).status == 200


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x"])
async def test_a_wrong_limit_is_400(routes: Sessions, query: str) -> None:
    reply = await routes.ask("GET", query=query)
    bounds = "" if query == "limit=x" else " from 1 to 100"
    assert (reply.status, reply.error["param"]) == (400, "limit")
    assert reply.error["message"] == f"Invalid value for 'limit': expected a whole number{bounds}."


@pytest.mark.parametrize("after", ["nowhere", "a%20b"])
async def test_a_page_begins_only_behind_a_session(routes: Sessions, after: str) -> None:
    reply = await routes.ask("GET", query=f"after={after}")
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "after", "invalid_value")


@pytest.mark.parametrize(
    ("query", "param"),
    [("tenant=a%20b", "tenant"), ("tenant=acme&key_id=a%20b", "key_id"), ("key_id=%2A", "tenant")],
)
async def test_a_wrong_name_of_somebody_is_400(routes: Sessions, query: str, param: str) -> None:
    reply = await routes.ask("GET", key=ADMIN, query=query)
    assert (reply.status, reply.error["param"]) == (400, param)


async def test_a_body_over_the_bound_of_bodies_is_413() -> None:
    async for routes in started(max_body_bytes=1024):
        reply = await routes.ask("POST", "", {"messages": [{**ASKED, "content": "x" * 2000}]})
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")

"""``/admin/keys`` and ``/admin/audit`` over the store in memory; who may call them is another module's matter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from app.api import keys as admin
from app.api.errors import EXCEPTION_HANDLERS
from app.domain.auth import Caller, read_key, tenant_tag
from app.errors import Unauthenticated
from app.gateway.services import Services
from tests.support.asgi import Reply, call
from tests.support.services import StateAway, make_services

_ADMIN = Caller(tag=tenant_tag("admin"), source="admin", key_id="admin", scopes=("admin",), authenticated=True)


class Admin:
    """The routes, as the administrator calls them."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._app = Litestar(
            route_handlers=[admin.KeysController, admin.audit],
            dependencies={"services": Provide(lambda: services, sync_to_thread=False)},
            exception_handlers=EXCEPTION_HANDLERS,
            logging_config=None,
            openapi_config=None,
            state=State({"services": services}),
        )

    async def ask(self, method: str, path: str, body: Any = None, *, query: str = "") -> Reply:
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        return await call(self._app, method, f"/admin{path}", body=raw, query=query)

    async def created(self, **fields: Any) -> dict[str, Any]:
        reply = await self.ask("POST", "/keys", {"tenant": "acme", **fields})
        assert reply.status == 201, reply.body
        made: dict[str, Any] = reply.json()
        return made


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scopes that were asked for; the caller has them."""
    asked: list[str] = []

    def require_scope(_request: Any, scope: str) -> Caller:
        asked.append(scope)
        return _ADMIN

    monkeypatch.setattr(admin, "require_scope", require_scope)
    return asked


@pytest.fixture
async def routes(asked_for: list[str]) -> AsyncIterator[Admin]:
    services = make_services()
    yield Admin(services)
    await services.state.close()


async def test_a_created_key_is_answered_with_its_text_once(routes: Admin) -> None:
    reply = await routes.ask("POST", "/keys", {"tenant": "acme", "limits": {"budget_day": 5}})
    made = reply.json()
    assert (reply.status, reply.headers["cache-control"]) == (201, "no-store")
    said = read_key(made["key"].encode())
    assert said is not None
    assert (said.id, made["object"], made["status"], made["version"]) == (made["id"], "api_key", "active", 1)
    assert (made["limits"]["budget_day"], made["limits"]["concurrency"], made["created_at"]) == (
        5.0,
        None,
        "2026-09-21T14:13:20Z",
    )
    del made["key"]
    assert (await routes.ask("GET", f"/keys/{made['id']}")).json() == made


async def test_keys_are_listed_in_pages_and_by_tenant(routes: Admin) -> None:
    ids = sorted([(await routes.created())["id"] for _ in range(3)])
    other = (await routes.created(tenant="other"))["id"]
    first = (await routes.ask("GET", "/keys", query="limit=2&tenant=acme")).json()
    assert ([key["id"] for key in first["data"]], first["has_more"], first["last_id"]) == (ids[:2], True, ids[1])
    second = (await routes.ask("GET", "/keys", query=f"tenant=acme&after={first['last_id']}")).json()
    assert ([key["id"] for key in second["data"]], second["has_more"]) == (ids[2:], False)
    assert {key["id"] for key in (await routes.ask("GET", "/keys")).json()["data"]} == {*ids, other}
    assert "sk-cw-" not in str(first)


async def test_an_update_answers_the_key_as_it_is_now(routes: Admin) -> None:
    made = await routes.created(limits={"concurrency": 2, "budget_day": 1}, cache={"mode": "on", "ttl": 600})
    reply = await routes.ask(
        "PATCH", f"/keys/{made['id']}", {"limits": {"concurrency": None}, "cache": {"ttl": None}, "name": "n"}
    )
    changed = reply.json()
    assert (reply.status, changed["version"], changed["name"]) == (200, 2, "n")
    assert (changed["limits"]["concurrency"], changed["limits"]["budget_day"]) == (None, 1.0)
    assert changed["cache"] == {"mode": "on", "ttl": None, "share_within": None}
    assert "key" not in changed


@pytest.mark.parametrize(
    ("body", "grace"), [(None, False), ({}, False), ({"grace_s": 60}, True), ({"grace": "12h"}, True)]
)
async def test_a_rotation_answers_the_new_text(routes: Admin, body: Any, grace: bool) -> None:
    made = await routes.created()
    reply = await routes.ask("POST", f"/keys/{made['id']}/rotate", body)
    rotated = reply.json()
    assert (reply.status, reply.headers["cache-control"], rotated["id"]) == (200, "no-store", made["id"])
    assert rotated["key"] != made["key"]
    assert (rotated["old_key_until"] is not None) == grace


@pytest.mark.parametrize(("method", "suffix"), [("POST", "/revoke"), ("DELETE", "")])
async def test_a_revocation_says_whether_it_is_durable(routes: Admin, method: str, suffix: str) -> None:
    made = await routes.created()
    reply = await routes.ask(method, f"/keys/{made['id']}{suffix}")
    revoked = reply.json()
    assert (reply.status, revoked["status"], revoked["revoked_at"]) == (200, "revoked", "2026-09-21T14:13:20Z")
    assert revoked["durable"] is False
    assert "in memory" in revoked["durability"]
    assert (await routes.ask("GET", f"/keys/{made['id']}")).json()["status"] == "revoked"
    assert (await routes.ask("PATCH", f"/keys/{made['id']}", {"name": "n"})).error["code"] == "key_revoked"


async def test_the_audit_names_the_caller(routes: Admin) -> None:
    made = await routes.created()
    await routes.ask("DELETE", f"/keys/{made['id']}")
    listed = (await routes.ask("GET", "/audit")).json()
    assert [(change["action"], change["actor"], change["key_id"]) for change in listed["data"]] == [
        ("revoke", "admin:admin", made["id"]),
        ("create", "admin:admin", made["id"]),
    ]
    assert len((await routes.ask("GET", "/audit", query="limit=1")).json()["data"]) == 1


async def test_the_audit_comes_in_pages_backwards_and_by_key(routes: Admin) -> None:
    first, second = await routes.created(), await routes.created()
    await routes.ask("DELETE", f"/keys/{first['id']}")
    newest = (await routes.ask("GET", "/audit", query="limit=2")).json()
    assert ([change["key_id"] for change in newest["data"]], newest["has_more"]) == ([first["id"], second["id"]], True)
    assert newest["last_id"] == newest["data"][-1]["id"]
    oldest = (await routes.ask("GET", "/audit", query=f"limit=2&before={newest['last_id']}")).json()
    assert ([change["action"] for change in oldest["data"]], oldest["has_more"]) == (["create"], False)
    of_first = (await routes.ask("GET", "/audit", query=f"key_id={first['id']}")).json()
    assert [change["action"] for change in of_first["data"]] == ["revoke", "create"]
    none = (await routes.ask("GET", "/audit", query="key_id=nobody")).json()
    assert none == {"object": "list", "data": [], "has_more": False, "last_id": None}


@pytest.mark.parametrize("before", ["x", "-", "", "1-99999999999999999999"])
async def test_what_is_no_entry_of_the_audit_is_400(routes: Admin, before: str) -> None:
    reply = await routes.ask("GET", "/audit", query=f"before={before}")
    assert (reply.status, reply.error["param"]) == (400, "before")


async def test_what_a_key_keeps_for_good_is_400(routes: Admin) -> None:
    made = await routes.created()
    reply = await routes.ask("PATCH", f"/keys/{made['id']}", {"tenant": "other"})
    assert (reply.status, reply.error["param"]) == (400, "tenant")
    assert "cannot be changed" in reply.error["message"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"", None, "invalid_json"),
        (b"{", None, "invalid_json"),
        ({}, "tenant", "missing_required_parameter"),
        ({"tenant": "acme", "rpm": 5}, "rpm", "unknown_parameter"),
        ({"tenant": "acme", "limits": {"budget_day": -1}}, "limits.budget_day", "invalid_value"),
        ({"tenant": "acme", "cache": {"ttl": 1801}}, "cache.ttl", "invalid_value"),
        ({"tenant": "acme", "cache": {"mode": "maybe"}}, "cache.mode", "invalid_value"),
        ({"tenant": "acme", "expires": "2020-01-01T00:00:00Z"}, "expires", "invalid_value"),
    ],
)
async def test_a_wrong_body_is_400_and_names_the_field(routes: Admin, body: Any, param: str | None, code: str) -> None:
    reply = await routes.ask("POST", "/keys", body)
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, param, code)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x"])
async def test_a_wrong_limit_is_400(routes: Admin, query: str) -> None:
    for path in ("/keys", "/audit"):
        reply = await routes.ask("GET", path, query=query)
        assert (reply.status, reply.error["param"]) == (400, "limit")
        bounds = "" if query == "limit=x" else " from 1 to 1000"
        assert reply.error["message"] == f"Invalid value for 'limit': expected a whole number{bounds}."


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/keys/0123456789ab", None),
        ("GET", "/keys/nonsense", None),
        ("PATCH", "/keys/0123456789ab", {}),
        ("POST", "/keys/0123456789ab/rotate", None),
        ("POST", "/keys/0123456789ab/revoke", None),
        ("DELETE", "/keys/0123456789ab", None),
    ],
)
async def test_an_unknown_key_is_404(routes: Admin, method: str, path: str, body: Any) -> None:
    reply = await routes.ask(method, path, body)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "key_not_found", "id")


_ALL = [
    ("POST", "/keys"),
    ("GET", "/keys"),
    ("GET", "/keys/0123456789ab"),
    ("PATCH", "/keys/0123456789ab"),
    ("POST", "/keys/0123456789ab/rotate"),
    ("POST", "/keys/0123456789ab/revoke"),
    ("DELETE", "/keys/0123456789ab"),
    ("GET", "/audit"),
]


@pytest.mark.parametrize(("method", "path"), _ALL)
async def test_every_route_asks_for_the_scope_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    def require_scope(_request: Any, scope: str) -> Caller:
        raise Unauthenticated(f"It needs the scope {scope}.")

    monkeypatch.setattr(admin, "require_scope", require_scope)
    state = StateAway()
    reply = await Admin(make_services(state=state)).ask(method, path, b"not json")
    assert (reply.status, state.asked) == (401, 0)


@pytest.mark.parametrize(("method", "path"), _ALL)
async def test_every_route_is_503_while_the_store_is_away(asked_for: list[str], method: str, path: str) -> None:
    reply = await Admin(make_services(state=StateAway())).ask(method, path, {"tenant": "a"} if path == "/keys" else {})
    assert (reply.status, reply.error["code"]) == (503, "state_unavailable")
    assert asked_for == ["admin"]

"""``GET /v1/usage`` over the store in memory: who may see what, and in which words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openapi_schema_validator import OAS30Validator

from app.api.middleware import GatewayApp
from app.api.openapi import build_document
from app.api.routes import create_litestar
from app.config import Config
from app.domain.auth import ANONYMOUS, Caller, tenant_tag
from app.domain.key_file import parse_key_file
from app.domain.limits import Demand, Use
from app.gateway.services import Services
from app.schemas.admin import KeyLimits, NewKey
from app.state import api_keys
from tests.support.asgi import Reply, call
from tests.support.services import NOW, StateAway, make_services

STATIC, ADMIN = "static-key-for-tests", "admin-key-for-tests"
OF_FILE = "key-of-the-file-for-tests"
MODEL = "claude-opus-5"

_FILE = f"""
[[keys]]
key = "{OF_FILE}"
id = "ci"
tenant = "acme"
name = "CI"
models = ["claude-haiku-*"]
limits = {{ concurrency = 3 }}

[tenants.acme]
requests_per_minute = 100
"""


class Usage:
    """The route of a gateway, and the store behind it."""

    def __init__(self, services: Services) -> None:
        self.services = services
        services.take_up_keys(parse_key_file(_FILE, "toml"))
        self.litestar = create_litestar(services)
        self._app = GatewayApp(self.litestar, services)

    async def ask(self, key: str | None = None, query: str = "", *, method: str = "GET") -> Reply:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return await call(self._app, method, "/v1/usage", headers=headers, query=query)

    async def told(self, key: str | None = None, query: str = "") -> dict[str, Any]:
        """The report, which has to be as it is documented."""
        reply = await self.ask(key, query)
        assert reply.status == 200, reply.body
        report: dict[str, Any] = reply.json()
        components = json.loads(build_document(self.litestar, protected=True))["components"]
        schema = {"$ref": "#/components/schemas/UsageReport", "components": components}
        OAS30Validator(schema).validate(report)
        return report

    async def stored(self, **fields: Any) -> tuple[str, str]:
        """Makes a key; returns its id and its text."""
        issued = await api_keys.create(
            self.services.state, NewKey(**{"tenant": "acme", **fields}), actor="test:1", now=NOW
        )
        return issued.key.id, issued.text

    async def used(self, caller: Caller, nano: int, *, estimated: bool = False) -> None:
        """A request of a caller was served."""
        permit = await self.services.admission.admit(caller, Demand(model=MODEL, model_names=(MODEL,), max_tokens=9))
        use = Use(input_tokens=11, cache_read_tokens=5, output_tokens=7, nano=nano, estimated=estimated)
        self.services.ledger.settle(permit, use)
        await self.services.ledger.close()


@pytest.fixture
async def protected() -> AsyncIterator[Usage]:
    services = make_services(config=Config(api_key=STATIC, admin_key=ADMIN, tenant_budget_month=10.0))
    yield Usage(services)
    await services.state.close()


@pytest.fixture
async def open_to_all() -> AsyncIterator[Usage]:
    services = make_services(config=Config(default_rpm=60, default_budget_day=2.0))
    yield Usage(services)
    await services.state.close()


async def test_anybody_sees_what_nobody_in_particular_has_used(open_to_all: Usage) -> None:
    await open_to_all.used(ANONYMOUS, 500_000_000, estimated=True)
    await open_to_all.used(ANONYMOUS, 1_000_000_000)
    told = await open_to_all.told()
    assert (told["object"], told["tenant"]) == ("usage", "anonymous")
    assert told["key"] == {
        "id": "anonymous",
        "name": None,
        "source": "anonymous",
        "scopes": ["inference", "sessions"],
        "models": [],
        "expires_at": None,
    }
    budget = told["limits"]["budget_day"]
    assert (budget["limit"], budget["spent"], budget["reserved"], budget["remaining"]) == (2.0, 1.5, 0.0, 0.5)
    assert told["limits"]["requests_per_minute"]["remaining"] in (58, 59, 60)
    assert (told["limits"]["concurrency"], told["tenant_limits"]) == (None, None)
    assert told["spend"] == {"day": 1.5, "month": 1.5, "total": 1.5}
    assert told["estimated_share"] == 0.333333
    today = told["days"][0]
    assert [model["model"] for model in today["models"]] == [MODEL]
    assert (today["requests"], today["input_tokens"], today["cache_read_tokens"]) == (2, 22, 10)
    assert (today["output_tokens"], today["cost"], today["estimated_cost"]) == (14, 1.5, 0.5)


async def test_a_stored_key_sees_its_own_limits_over_the_defaults(open_to_all: Usage) -> None:
    limits = KeyLimits(requests_per_minute=7, concurrency=2)
    key_id, text = await open_to_all.stored(name="batch", limits=limits, expires=NOW + 60)
    told = await open_to_all.told(text)
    assert (told["tenant"], told["key"]["id"], told["key"]["name"]) == ("acme", key_id, "batch")
    assert (told["key"]["source"], told["key"]["expires_at"]) == ("stored", "2026-09-21T14:14:20Z")
    assert told["limits"]["requests_per_minute"]["limit"] == 7
    assert told["limits"]["concurrency"] == {"limit": 2, "in_use": 0}
    assert told["limits"]["budget_day"]["limit"] == 2.0
    assert told["tenant_limits"]["requests_per_minute"]["limit"] == 100
    assert "sk-cw" not in str(told)


async def test_a_key_of_the_file_is_named_by_it(protected: Usage) -> None:
    told = await protected.told(OF_FILE)
    assert (told["key"]["id"], told["key"]["name"], told["key"]["source"]) == ("ci", "CI", "file")
    assert told["key"]["models"] == ["claude-haiku-*"]
    assert told["limits"]["concurrency"] == {"limit": 3, "in_use": 0}
    assert told["tenant_limits"]["budget_month"]["limit"] == 10.0


async def test_the_static_key_has_its_usage_too(protected: Usage) -> None:
    told = await protected.told(STATIC)
    assert (told["tenant"], told["key"]["id"], told["key"]["source"]) == ("default", "static", "static")


async def test_a_client_with_a_key_of_anthropic_sees_its_usage_and_not_its_key() -> None:
    services = make_services(config=Config(byok=True))
    key = "sk-ant-api03-canary-of-a-client"
    told = await Usage(services).told(key)
    assert (told["tenant"], told["key"]["source"]) == ("byok", "byok")
    assert told["key"]["id"].startswith("byok-")
    assert "canary" not in str(told)
    await services.state.close()


@pytest.mark.parametrize(("query", "days"), [("", 7), ("days=1", 1), ("days=31", 31)])
async def test_days_are_as_many_as_were_asked_for(open_to_all: Usage, query: str, days: int) -> None:
    dates = [day["date"] for day in (await open_to_all.told(query=query))["days"]]
    assert len(dates) == days
    assert dates == sorted(set(dates), reverse=True)


@pytest.mark.parametrize("query", ["days=0", "days=32", "days=x", "days=1.5"])
async def test_a_wrong_number_of_days_is_400(open_to_all: Usage, query: str) -> None:
    reply = await open_to_all.ask(query=query)
    assert (reply.status, reply.error["param"]) == (400, "days")
    bounds = "" if query in ("days=x", "days=1.5") else " from 1 to 31"
    assert reply.error["message"] == f"Invalid value for 'days': expected a whole number{bounds}."


async def test_the_reply_may_not_be_kept_by_anybody(open_to_all: Usage) -> None:
    assert (await open_to_all.ask()).headers["cache-control"] == "no-store"


async def test_an_administrator_sees_any_stored_key(protected: Usage) -> None:
    key_id, text = await protected.stored(name="batch", limits=KeyLimits(concurrency=4))
    caller = Caller(tag=tenant_tag("acme"), tenant="acme", source="jwt", key_id=key_id)
    await protected.used(caller, 10**9)
    told = await protected.told(ADMIN, f"key_id={key_id}&days=2")
    assert (told["tenant"], told["key"]["id"], told["key"]["source"]) == ("acme", key_id, "stored")
    assert (told["spend"]["total"], len(told["days"]), told["days"][0]["cost"]) == (1.0, 2, 1.0)
    own = await protected.told(text, "days=2")
    assert (told["key"], told["spend"], told["days"]) == (own["key"], own["spend"], own["days"])


async def test_every_key_with_the_scope_is_an_administrators(protected: Usage) -> None:
    key_id, text = await protected.stored(scopes=("inference", "admin"))
    for key in (STATIC, text):
        assert (await protected.told(key, f"key_id={key_id}"))["key"]["id"] == key_id


async def test_an_administrator_sees_a_tenant_over_all_its_keys(protected: Usage) -> None:
    for key_id in ("one", "two"):
        await protected.used(Caller(tag=tenant_tag("acme"), tenant="acme", source="jwt", key_id=key_id), 10**9)
    told = await protected.told(ADMIN, "tenant=acme")
    assert set(told) == {"object", "tenant", "tenant_limits", "spend"}
    assert told["spend"] == {"day": 2.0, "month": 2.0, "total": 2.0}
    assert told["tenant_limits"]["budget_month"]["remaining"] == 8.0


async def test_an_administrator_sees_anybody_by_tenant_and_id(protected: Usage) -> None:
    subject = Caller(tag=tenant_tag("acme"), tenant="acme", source="jwt", key_id="jwt-abcdefgh")
    await protected.used(subject, 10**9)
    told = await protected.told(ADMIN, "tenant=acme&key_id=jwt-abcdefgh&days=2")
    assert (told["tenant"], told["key"]["id"], told["key"]["source"]) == ("acme", "jwt-abcdefgh", "jwt")
    assert (told["spend"]["total"], len(told["days"])) == (1.0, 2)
    assert told["limits"]["concurrency"] is None
    of_file = await protected.told(ADMIN, "tenant=acme&key_id=ci")
    own = await protected.told(OF_FILE)
    assert (of_file["key"], of_file["limits"]) == (own["key"], own["limits"])
    key_id, _ = await protected.stored(name="batch", limits=KeyLimits(concurrency=4))
    stored = await protected.told(ADMIN, f"tenant=acme&key_id={key_id}")
    assert (stored["key"]["source"], stored["limits"]["concurrency"]["limit"]) == ("stored", 4)
    elsewhere = await protected.told(ADMIN, f"tenant=other&key_id={key_id}")
    assert (elsewhere["key"]["source"], elsewhere["spend"]["total"]) == (None, 0.0)


async def test_who_is_looked_for_by_id_alone_and_not_stored_is_said_how_to_be_found(protected: Usage) -> None:
    reply = await protected.ask(ADMIN, "key_id=ci")
    assert reply.status == 404
    assert "by tenant and key_id together" in reply.error["message"]


@pytest.mark.parametrize("key_id", ["", "%2A", "a%7Db"])
async def test_what_is_no_id_is_400(protected: Usage, key_id: str) -> None:
    reply = await protected.ask(ADMIN, f"tenant=acme&key_id={key_id}")
    assert (reply.status, reply.error["param"]) == (400, "key_id")


@pytest.mark.parametrize("query", ["key_id=000000000000", "tenant=acme", "tenant=acme&key_id=ci"])
async def test_others_are_for_administrators_only(protected: Usage, query: str) -> None:
    _, text = await protected.stored()
    for key in (OF_FILE, text):
        reply = await protected.ask(key, query)
        assert (reply.status, reply.error["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("query", ["key_id=000000000000", "tenant=acme"])
async def test_without_protection_others_need_a_key_all_the_same(open_to_all: Usage, query: str) -> None:
    assert (await open_to_all.ask(query=query)).status == 401


@pytest.mark.parametrize("key_id", ["000000000000", "nonsense", ""])
async def test_an_unknown_key_is_404(protected: Usage, key_id: str) -> None:
    reply = await protected.ask(ADMIN, f"key_id={key_id}")
    assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "key_not_found", "key_id")


@pytest.mark.parametrize("query", ["tenant=", "tenant=%2A", "tenant=a%7Db", "tenant=&key_id=ci"])
async def test_what_names_no_tenant_is_400(protected: Usage, query: str) -> None:
    reply = await protected.ask(ADMIN, query)
    assert (reply.status, reply.error["param"]) == (400, "tenant")


async def test_without_a_key_a_protected_gateway_tells_nothing(protected: Usage) -> None:
    assert (await protected.ask()).status == 401


@pytest.mark.parametrize(
    ("key", "query"),
    [(STATIC, ""), (ADMIN, "key_id=000000000000"), (ADMIN, "tenant=acme"), (ADMIN, "tenant=a&key_id=b")],
)
async def test_without_the_store_it_is_503_and_never_zero(key: str, query: str) -> None:
    away = Usage(make_services(config=Config(api_key=STATIC, admin_key=ADMIN), state=StateAway()))
    reply = await away.ask(key, query)
    assert (reply.status, reply.error["code"]) == (503, "state_unavailable")

"""``GET /metrics``: who may read it, in which format, and how few labels there are."""

from __future__ import annotations

import re

import pytest

from app.api.metrics import metrics
from app.api.middleware import GatewayApp
from app.api.routes import create_litestar
from app.config import Config
from app.domain.key_file import parse_key_file
from app.domain.upstream import UpstreamReply, UpstreamRequest
from app.errors import UpstreamUnreachable
from app.gateway.services import Services
from app.observability.catalog import REQUESTS
from tests.support.asgi import Headers, Reply, call
from tests.support.scraped import ACCEPT_OPENMETRICS, Scraped, problems
from tests.support.services import StateAway, make_services

JSON = {"content-type": "application/json"}
ADMIN = {"authorization": "Bearer the-admin-key"}
CLIENT = {"authorization": "Bearer a-client-s-key-0123456789"}

_FILE = """
[[keys]]
key = "a-client-s-key-0123456789"
tenant = "acme"
"""


class Unreachable:
    """An upstream that nobody reaches."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        raise UpstreamUnreachable("Nobody is there.")

    async def close(self) -> None:
        return None


def services_of(**settings: object) -> Services:
    return make_services(config=Config(**settings))  # type: ignore[arg-type]


async def get(services: Services, headers: Headers | None = None, path: str = "/metrics") -> Reply:
    return await call(GatewayApp(create_litestar(services), services), "GET", path, headers=headers)


async def test_everybody_reads_them_by_default() -> None:
    reply = await get(services_of())
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"
    assert problems(Scraped(reply.body.decode())) == []


async def test_prometheus_gets_openmetrics() -> None:
    reply = await get(services_of(), {"accept": ACCEPT_OPENMETRICS})
    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert problems(Scraped(reply.body.decode(), is_openmetrics=True)) == []


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "//metrics"])
async def test_open_ones_need_no_key_on_a_protected_gateway(path: str) -> None:
    reply = await get(services_of(api_key="the-client-key", admin_key="the-admin-key"), path=path)
    assert reply.status == 200


@pytest.mark.parametrize(("headers", "status"), [({}, 401), (CLIENT, 403), (ADMIN, 200)])
async def test_those_of_the_operator_need_the_scope_admin(headers: Headers, status: int) -> None:
    services = services_of(metrics="admin", admin_key="the-admin-key")
    services.take_up_keys(parse_key_file(_FILE, "toml"))
    assert (await get(services, headers)).status == status


async def test_those_of_the_operator_are_nobody_s_on_a_gateway_without_keys() -> None:
    reply = await get(services_of(metrics="admin"))
    assert reply.status == 401
    assert "CLAUDE_WRAPPER_ADMIN_KEY" in reply.error["message"]


async def test_switched_off_they_say_what_would_show_them() -> None:
    reply = await get(services_of(metrics="off"))
    assert reply.status == 404
    assert "CLAUDE_WRAPPER_METRICS=open" in reply.error["message"]


async def test_they_are_there_without_the_store() -> None:
    reply = await get(make_services(state=StateAway()))
    assert reply.status == 200
    assert problems(Scraped(reply.body.decode())) == []


async def test_asking_for_them_is_not_counted() -> None:
    services = services_of()
    for _ in range(3):
        reply = await get(services)
    assert Scraped(reply.body.decode()).total(f"{REQUESTS.name}_total") == 0


async def test_a_thousand_made_up_models_and_paths_are_the_others() -> None:
    services = make_services(upstream=Unreachable())
    app = GatewayApp(create_litestar(services), services)
    for number in range(500):
        for model, status in ((f"canary-model-{number}", 404), (f"claude-canary-{number}", 502)):
            body = b'{"model":"%s","messages":[{"role":"user","content":"canary"}]}' % model.encode()
            reply = await call(app, "POST", "/v1/chat/completions", body=body, headers=JSON)
            assert reply.status == status
        await call(app, "GET", f"/canary-path-{number}")
    page = Scraped((await get(services)).body.decode())
    assert page.label_values("model") == {"", "other"}
    assert page.label_values("route") == {"/v1/chat/completions", "other"}
    assert page.total(f"{REQUESTS.name}_total", model="other", status="502") == 500
    assert page.total(f"{REQUESTS.name}_total", route="/v1/chat/completions", status="404") == 500
    assert "canary" not in repr(page.values)
    assert len(page.values) < 500


def test_the_document_says_where_they_are() -> None:
    assert metrics.paths == {"/metrics"}
    assert re.search("open.*admin.*off", metrics.operation_class.doc.description)  # type: ignore[attr-defined]

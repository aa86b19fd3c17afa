"""Who gets the dashboard, and in which form."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import pytest

from app.api.middleware import GatewayApp
from app.api.routes import create_litestar
from app.config import Config
from app.schemas.dashboard import Dashboard
from tests.support.asgi import Headers, Reply, call
from tests.support.services import StateAway, make_services

ADMIN_KEY = "admin-key-for-tests-0123456789abcdef"
KEY = "client-key-for-tests"
JSON = {"accept": "application/json"}
ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}


@cache
def gateway(**settings: Any) -> GatewayApp:
    services = make_services(config=Config(**settings))
    return GatewayApp(create_litestar(services), services)


async def get(path: str, headers: Headers | None = None, query: str = "") -> Reply:
    """Asks an open gateway."""
    return await call(gateway(), "GET", path, headers=headers, query=query)


async def get_protected(path: str, headers: Headers | None = None) -> Reply:
    return await call(gateway(admin_key=ADMIN_KEY), "GET", path, headers=headers)


async def test_a_browser_gets_the_page() -> None:
    reply = await get("/dashboard", {"accept": "text/html,*/*;q=0.8"})
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.body.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize(("path", "headers"), [("/dashboard", JSON), ("/dashboard/data", {})])
async def test_who_would_rather_have_json_gets_it(path: str, headers: Headers) -> None:
    reply = await get(path, headers)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    shown = msgspec.json.decode(reply.body, type=Dashboard)
    assert (shown.window.name, shown.overview.workers, shown.degraded) == ("1h", 1, False)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_caches_are_told_that_there_are_two_forms(accept: str) -> None:
    assert (await get("/dashboard", {"accept": accept})).headers["vary"].split(", ")[0] == "accept"


@pytest.mark.parametrize(
    ("path", "headers"), [("/dashboard", {}), ("/dashboard", JSON), ("/dashboard/data", {}), ("/docs", {})]
)
async def test_every_form_has_the_headers_of_a_page(path: str, headers: Headers) -> None:
    reply = await get(path, headers)
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-store"
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(("window", "points"), [("15m", 15), ("1h", 60), ("24h", 24), ("48h", 48)])
async def test_the_time_shown_can_be_chosen(window: str, points: int) -> None:
    shown = (await get("/dashboard/data", query=f"window={window}")).json()
    assert shown["window"]["name"] == window
    assert len(shown["performance"]["series"]) == len(shown["performance"]["before"]) == points


async def test_another_time_is_refused() -> None:
    reply = await get("/dashboard/data", query="window=2h")
    assert reply.status == 400
    assert reply.error["param"] == "window"


async def test_the_names_of_the_mission_are_there() -> None:
    shown = (await get("/dashboard/data")).json()
    assert {"status", "alertLevel", "uptime", "version"} <= shown["overview"].keys()
    assert {"avgResponseTime", "requestsPerMinute", "errorRate"} <= shown["performance"].keys()
    assert {"memory", "cpu", "sessions"} <= shown["resources"].keys()
    assert {"responseTime", "errors"} <= shown["recent"].keys()


async def test_the_page_of_a_protected_gateway_is_open_and_asks_for_a_key() -> None:
    reply = await get_protected("/dashboard")
    assert reply.status == 200
    assert b'data-protected="true"' in reply.body


@pytest.mark.parametrize(("path", "headers"), [("/dashboard", JSON), ("/dashboard/data", {})])
async def test_its_figures_need_the_admin_key(path: str, headers: Headers) -> None:
    assert (await get_protected(path, headers)).status == 401
    assert (await get_protected(path, headers | {"authorization": "Bearer wrong"})).status == 401
    assert (await get_protected(path, headers | ADMIN)).status == 200


async def test_a_wrong_key_counts_as_a_guess() -> None:
    app = gateway(admin_key=ADMIN_KEY, guesses_per_minute=1)
    for _ in range(10):
        reply = await call(app, "GET", "/dashboard", headers=JSON | {"authorization": "Bearer wrong"})
    assert reply.status == 429


@pytest.mark.parametrize(("path", "headers"), [("/dashboard", JSON), ("/dashboard/data", {})])
async def test_while_the_store_is_away_there_are_figures_of_this_worker(path: str, headers: Headers) -> None:
    services = make_services(state=StateAway())
    reply = await call(GatewayApp(create_litestar(services), services), "GET", path, headers=headers)
    assert reply.status == 200
    shown = reply.json()
    assert (shown["degraded"], shown["scope"], shown["overview"]["status"]) == (True, "process", "degraded")

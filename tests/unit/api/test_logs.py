"""``GET /logs``: the latest requests of all replicas, to filter and to page through."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from app.api.logs import moment
from app.api.middleware import GatewayApp
from app.api.routes import create_litestar
from app.config import Config
from app.errors import InvalidRequest
from app.gateway.services import Services
from app.schemas.admin import NewKey
from app.state import api_keys, keys
from app.state.request_log import add_records_commands
from tests.support.asgi import Reply, call
from tests.support.request_logs import chat_request, request
from tests.support.services import NOW, StateAway, make_services

ADMIN_KEY = "admin-key-for-tests"


async def get(services: Services, query: str = "", **headers: str) -> Reply:
    app = GatewayApp(create_litestar(services), services)
    return await call(app, "GET", "/logs", query=query, headers=headers)


async def page(services: Services, query: str = "") -> Any:
    reply = await get(services, query)
    assert reply.status == 200, reply.body
    return reply.json()


async def hand_over(services: Services) -> None:
    """What every worker does every few seconds."""
    await services.state.pipeline(add_records_commands(services.request_log.take_recent()))


def note(services: Services, *records: Any) -> None:
    for record in records:
        services.request_log.note(record, response_s=0.25, duration_s=0.5)


async def made() -> Services:
    """Services that have logged three requests."""
    services = make_services()
    note(services, chat_request(), request(status=500), chat_request(tenant="other"))
    await hand_over(services)
    return services


async def test_the_newest_request_comes_first() -> None:
    body = await page(await made())
    assert [(line["type"], line["tenant"], line["status"]) for line in body["data"]] == [
        ("chat", "other", 200),
        ("other", "", 500),
        ("chat", "acme", 200),
    ]
    assert (body["scope"], body["has_more"], body["last_id"]) == ("cluster", False, None)


async def test_without_requests_the_page_is_empty() -> None:
    assert (await page(make_services()))["data"] == []


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("level=warning", 1),
        ("level=INFO", 2),
        ("type=chat", 2),
        ("type=sessions", 0),
        ("tenant=acme", 1),
        ("type=chat&tenant=other", 1),
        (f"since={NOW}", 3),
        (f"since={NOW + 1}", 0),
        ("since=1h", 3),
        ("until=1h", 0),
        (f"until={NOW}", 0),
        ("until=2026-09-21T14:13:21Z", 3),
        ("since=2026-09-21T16:13:20%2B02:00", 3),
        ("limit=2", 2),
    ],
)
async def test_it_can_be_asked_for_less_also_while_the_store_is_away(query: str, count: int) -> None:
    services = await made()
    assert len((await page(services, query))["data"]) == count
    away = make_services(state=StateAway())
    note(away, chat_request(), request(status=500), chat_request(tenant="other"))
    body = await page(away, query)
    assert (len(body["data"]), body["scope"]) == (count, "process")


async def test_a_store_that_refuses_is_no_outage() -> None:
    services = await made()
    await services.state.pipeline([("DEL", keys.REQUESTS), ("RPUSH", keys.REQUESTS, "junk")])
    reply = await get(services)
    assert (reply.status, reply.json()["error"]["code"]) == (503, "state_unavailable")
    assert "WRONGTYPE" in reply.json()["error"]["message"]


async def test_pages_follow_each_other() -> None:
    services = await made()
    first = await page(services, "limit=2")
    assert first["has_more"]
    second = await page(services, f"limit=2&before={first['last_id']}")
    assert [line["tenant"] for line in first["data"] + second["data"]] == ["other", "", "acme"]
    assert not second["has_more"]


async def test_as_text_it_reads_like_a_log() -> None:
    reply = await get(await made(), accept="text/plain")
    assert reply.headers["content-type"].startswith("text/plain")
    lines = reply.body.decode().splitlines()
    assert [line.split()[1:5] for line in lines] == [
        ["INFO", "POST", "/v1/chat/completions", "200"],
        ["WARNING", "GET", "/v1/models", "500"],
        ["INFO", "POST", "/v1/chat/completions", "200"],
    ]


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html", "text/plain;q=0.1, application/json"])
async def test_otherwise_it_is_json(accept: str) -> None:
    assert (await get(await made(), accept=accept)).json()["scope"] == "cluster"


async def test_a_reply_is_kept_by_nobody() -> None:
    assert (await get(make_services())).headers["cache-control"] == "no-store"


async def test_records_of_another_release_are_left_out() -> None:
    services = await made()
    record = {"timestamp": datetime.fromtimestamp(NOW, UTC).isoformat(), "level": "INFO", "type": "of the future"}
    await services.state.pipeline(add_records_commands([json.dumps(record).encode()]))
    assert len((await page(services))["data"]) == 3


async def test_what_an_operator_looks_at_is_not_among_it() -> None:
    services = await made()
    app = GatewayApp(create_litestar(services), services)
    for path in ("/logs", "/health", "/docs"):
        await call(app, "GET", path)
    await hand_over(services)
    assert len((await page(services))["data"]) == 3


@pytest.mark.parametrize(
    "query",
    [
        "level=loud",
        "type=chats",
        "limit=0",
        "limit=501",
        "before=last",
        "before=0-0",
        "before=00-0",
        "since=yesterday",
        "until=-1",
    ],
)
async def test_what_is_not_accepted_is_named(query: str) -> None:
    reply = await get(make_services(), query)
    assert (reply.status, reply.error["param"]) == (400, query.partition("=")[0])


async def test_a_protected_gateway_shows_it_to_an_admin_only() -> None:
    services = make_services(config=Config(admin_key=ADMIN_KEY))
    client = await api_keys.create(services.state, NewKey(tenant="acme"), actor="test", now=NOW)
    assert (await get(services)).status == 401
    assert (await get(services, authorization=f"Bearer {client.text}")).status == 403
    assert (await get(services, authorization=f"Bearer {ADMIN_KEY}")).status == 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1790000000", 1_790_000_000.0),
        ("1790000000.25", 1_790_000_000.25),
        ("2026-09-21T14:13:20Z", 1_790_000_000.0),
        ("2026-09-21T14:13:20.250Z", 1_790_000_000.25),
        ("2026-09-21T16:13:20 02:00", 1_790_000_000.0),
        ("2026-09-21T14:13:20", 1_790_000_000.0),
        ("2026-09-21", 1_789_948_800.0),
        ("90s", NOW - 90),
        ("15m", NOW - 900),
        ("1h", NOW - 3600),
        ("2d", NOW - 172_800),
    ],
)
def test_a_moment_is_told_in_several_ways(text: str, seconds: float) -> None:
    assert moment(text, param="since", now=NOW) == seconds


@pytest.mark.parametrize(
    "text", ["", "noon", "nan", "inf", "-5", "1e300", "2026-13-01", "h", "1y", "-1h", "1.5h", "9999999d"]
)
def test_a_moment_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        moment(text, param="since", now=NOW)

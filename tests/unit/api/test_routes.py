"""The whole app without a server: routing, errors, models, root, auth status."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from litestar import Litestar, get
from litestar.exceptions import HTTPException, ImproperlyConfiguredException

from app.api.errors import EXCEPTION_HANDLERS
from app.api.middleware import GatewayApp
from app.api.routes import create_litestar
from app.config import Config
from tests.support.asgi import Headers, Reply, call
from tests.support.services import make_services

KEY = "gateway-key-for-tests"


@cache
def gateway(config: Config) -> GatewayApp:
    """One app per configuration: building it takes longer than most tests, and none of them changes it."""
    services = make_services(config=config)
    return GatewayApp(create_litestar(services), services)


async def ask(method: str, path: str, *, headers: Headers | None = None, query: str = "", **settings: Any) -> Reply:
    return await call(gateway(Config(**settings)), method, path, headers=headers, query=query)


# Routing and its errors


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
async def test_an_unknown_url_is_404_with_every_method(method: str) -> None:
    reply = await ask(method, "/v1/foo")
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    if method != "HEAD":
        assert reply.error["code"] == "unknown_url"
        assert reply.error["type"] == "invalid_request_error"


async def test_an_unknown_url_is_explained_with_the_real_routes() -> None:
    reply = await ask("POST", "/chat/completions")
    assert "Did you mean /v1/chat/completions?" in reply.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "OPTIONS, POST"),
        ("HEAD", "/v1/chat/completions", "OPTIONS, POST"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("DELETE", "/v1/models/claude-opus-5-5", "GET, HEAD, OPTIONS"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_405_with_the_methods_that_work(method: str, path: str, allow: str) -> None:
    reply = await ask(method, path)
    assert (reply.status, reply.headers["allow"]) == (405, allow)
    assert reply.headers["content-type"] == "application/json"


async def test_the_body_of_405_names_the_methods() -> None:
    error = (await ask("PUT", "/v1/models")).error
    assert error["code"] == "method_not_allowed"
    assert error["message"] == "/v1/models does not accept PUT; it accepts GET, HEAD, OPTIONS."


async def test_a_wrong_query_parameter_is_400_with_its_name() -> None:
    reply = await ask("GET", "/v1/models", query="limit=0")
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "limit", "invalid_value")


async def test_a_query_parameter_of_another_type_is_told_in_words() -> None:
    error = (await ask("GET", "/v1/models", query="limit=x")).error
    assert error["message"] == "Invalid value for 'limit': expected a whole number."
    assert error["param"] == "limit"


@pytest.mark.parametrize(
    ("path", "allow"), [("/v1/models", "GET, HEAD, OPTIONS"), ("/v1/chat/completions", "OPTIONS, POST")]
)
async def test_options_lists_head_wherever_get_is(path: str, allow: str) -> None:
    reply = await ask("OPTIONS", path)
    assert (reply.status, reply.headers["allow"]) == (204, allow)


async def test_an_odd_host_header_is_400() -> None:
    reply = await ask("GET", "/", headers={"host": "a b"})
    assert (reply.status, reply.error["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (HTTPException(status_code=413), 413),
        (HTTPException(status_code=408), 408),
        (HTTPException(status_code=401), 401),
        (HTTPException(status_code=503), 503),
        (HTTPException(status_code=418, detail="short  and\nstout"), 400),
        (HTTPException(status_code=500, detail="CANARY"), 500),
        (ImproperlyConfiguredException("CANARY"), 500),
        (ValueError("CANARY"), 500),
    ],
)
async def test_whatever_litestar_raises_leaves_in_openais_shape(raised: Exception, status: int) -> None:
    @get("/fails")
    async def fails() -> None:
        raise raised

    app = Litestar([fails], exception_handlers=EXCEPTION_HANDLERS, logging_config=None, openapi_config=None)
    reply = await call(GatewayApp(app, make_services()), "GET", "/fails")
    assert reply.status == status
    assert set(reply.error) == {"message", "type", "param", "code"}
    assert "CANARY" not in reply.body.decode()


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/logs", "level=error", "expected one of info, warning."),
        ("/dashboard/data", "window=7h", "expected one of 15m, 1h, 24h, 48h."),
    ],
)
async def test_what_a_parameter_takes_is_named(path: str, query: str, expected: str) -> None:
    reply = await ask("GET", path, query=query)
    assert (reply.status, reply.error["param"]) == (400, query.partition("=")[0])
    assert reply.error["message"].endswith(expected)


# GET /


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_root_answers_cheaply(method: str) -> None:
    reply = await ask(method, "/")
    assert reply.status == 200
    if method == "GET":
        assert reply.json()["docs"] == "/docs"
        assert reply.json()["name"] == "claude-wrapper"


async def test_what_the_root_names_is_there() -> None:
    named = [path for path in (await ask("GET", "/")).json().values() if path.startswith("/") and path != "/v1"]
    assert {"/docs", "/dashboard", "/metrics", "/logs"} <= set(named)
    assert [path for path in named if (await ask("GET", path)).status == 404] == []


# /v1/models


async def test_the_list_holds_every_model_that_is_served() -> None:
    body = (await ask("GET", "/v1/models")).json()
    assert (body["object"], body["has_more"]) == ("list", False)
    assert [model["id"] for model in body["data"]][:1] == [body["first_id"]]
    assert body["last_id"] == body["data"][-1]["id"]


async def test_pages_follow_each_other_without_a_gap() -> None:
    everything = [model["id"] for model in (await ask("GET", "/v1/models")).json()["data"]]
    seen: list[str] = []
    query = "limit=7"
    while True:
        page = (await ask("GET", "/v1/models", query=query)).json()
        seen += [model["id"] for model in page["data"]]
        if not page["has_more"]:
            break
        query = f"limit=7&after_id={page['last_id']}"
    assert seen == everything


async def test_a_page_before_an_id_ends_there() -> None:
    everything = [model["id"] for model in (await ask("GET", "/v1/models")).json()["data"]]
    page = (await ask("GET", "/v1/models", query=f"limit=2&before_id={everything[3]}")).json()
    assert [model["id"] for model in page["data"]] == everything[1:3]


async def test_an_unknown_cursor_is_400() -> None:
    assert (await ask("GET", "/v1/models", query="after_id=nope")).error["param"] == "after_id"


async def test_two_cursors_at_once_are_400() -> None:
    ids = [model["id"] for model in (await ask("GET", "/v1/models")).json()["data"]]
    reply = await ask("GET", "/v1/models", query=f"after_id={ids[0]}&before_id={ids[3]}")
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "before_id", "invalid_value")


@pytest.mark.parametrize("suffix", ["", "/capabilities"])
async def test_a_retired_id_is_reported_as_adjusted(suffix: str) -> None:
    reply = await ask("GET", f"/v1/models/claude-2.1{suffix}")
    assert reply.headers["x-claude-wrapper-adjusted-params"] == f"model={reply.json()['id']}"
    assert "x-claude-wrapper-adjusted-params" not in (await ask("GET", f"/v1/models/opus{suffix}")).headers


@pytest.mark.parametrize(
    "name",
    ["claude-opus-5-5", "opus", "claude-opus-latest", "claude-opus-5.5", "anthropic/claude-opus-5.5", "opus@low"],
)
async def test_a_model_is_found_by_every_name_that_a_request_may_use(name: str) -> None:
    assert (await ask("GET", f"/v1/models/{name}")).json()["id"] == "claude-opus-5-5"


async def test_a_retired_model_is_answered_by_the_one_that_serves_it() -> None:
    assert (await ask("GET", "/v1/models/claude-3-5-sonnet-20241022")).json()["id"] == "claude-sonnet-5-5"


async def test_an_operators_alias_is_found() -> None:
    reply = await ask("GET", "/v1/models/house-model", model_aliases=(("house-model", "haiku"),))
    assert reply.json()["id"] == "claude-haiku-5-5"


@pytest.mark.parametrize("path", ["/v1/models/gpt-4o", "/v1/models/openai/gpt-4o", "/v1/models/gpt-4o/capabilities"])
async def test_an_unknown_model_is_404(path: str) -> None:
    reply = await ask("GET", path)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "model_not_found", "model")


@pytest.mark.parametrize("name", ["sonnet", "anthropic/claude-sonnet-5.5"])
async def test_capabilities_are_those_of_the_model(name: str) -> None:
    body = (await ask("GET", f"/v1/models/{name}/capabilities")).json()
    assert (body["id"], body["object"]) == ("claude-sonnet-5-5", "model.capabilities")


# /v1/auth/status


async def test_an_unprotected_gateway_needs_no_key() -> None:
    body = (await ask("GET", "/v1/auth/status")).json()
    assert body == {"protected": False, "authenticated": True, "methods": []}


@pytest.mark.parametrize(
    ("headers", "authenticated"),
    [({}, False), ({"authorization": "Bearer wrong"}, False), ({"authorization": f"Bearer {KEY}"}, True)],
)
async def test_the_status_of_a_protected_gateway_reveals_nothing_about_the_key(
    headers: Headers, authenticated: bool
) -> None:
    reply = await ask("GET", "/v1/auth/status", headers=headers, api_key=KEY)
    assert reply.json() == {
        "protected": True,
        "authenticated": authenticated,
        "methods": ["authorization: bearer", "x-api-key"],
    }

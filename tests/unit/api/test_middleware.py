"""GatewayApp: what is true of every reply, and the last resort."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from app.api.middleware import LONGEST_PATH, GatewayApp
from app.api.request_ids import RequestIds
from app.config import Config
from app.domain.auth import key_text
from app.errors import (
    ClientDisconnected,
    InvalidRequest,
    SessionDamaged,
    StateUnavailable,
    Unauthenticated,
    UpstreamStatus,
    UpstreamUnreachable,
)
from app.observability.catalog import REQUESTS
from app.observability.log import configure
from app.observability.record import RequestRecord
from tests.support.asgi import Reply, call, http_scope
from tests.support.services import StateAway, make_services

CANARY = "CANARY-7f3a9c"
KEY = "gateway-key-for-tests"


class Inner:
    """The app inside: answers 200 with what it was asked, or does what a test wants."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body = scope["method"].encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def wrap(inner: Any, **settings: Any) -> GatewayApp:
    config = Config(log_format="json", **settings)
    return GatewayApp(inner, make_services(config=config), request_ids=RequestIds(now_ns=lambda: 0, process_tag="p"))


def raising(error: BaseException, *, after_start: bool = False) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"some", "more_body": True})
        raise error

    return app


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The JSON log of our loggers."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure(format="json", stream=stream)
    yield stream
    configure()
    root.handlers[:], root.level = before, level


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


# The id of the request


async def test_every_reply_has_an_id() -> None:
    app = wrap(Inner())
    first, second = await call(app, "GET", "/x"), await call(app, "GET", "/x")
    assert first.headers["x-request-id"] == "cw-000000000000-p-1"
    assert second.headers["x-request-id"] == "cw-000000000000-p-2"


@pytest.mark.parametrize("own", ["abc", "req_9f:8.7-6", "A" * 128])
async def test_a_clients_own_sane_id_is_kept(own: str) -> None:
    assert (await call(wrap(Inner()), "GET", "/x", headers={"X-Request-ID": own})).headers["x-request-id"] == own


@pytest.mark.parametrize("own", ["", "a b", "A" * 129, "id\nlevel=error", "é", '"'])
async def test_a_clients_odd_id_is_replaced(own: str) -> None:
    reply = await call(wrap(Inner()), "GET", "/x", headers={"X-Request-ID": own})
    assert reply.headers["x-request-id"] == "cw-000000000000-p-1"


async def test_the_route_finds_the_id_and_the_record_in_the_scope() -> None:
    inner = Inner()
    await call(wrap(inner), "GET", "/x")
    state = inner.scopes[0]["state"]
    assert state["request_id"] == state["record"].request_id == "cw-000000000000-p-1"
    assert isinstance(state["record"], RequestRecord)


async def test_generated_ids_sort_by_time() -> None:
    times = iter([1_000_000_000, 2_000_000_000_000])
    ids = RequestIds(now_ns=lambda: next(times))
    first, second = ids.new(), ids.new()
    assert first < second
    assert len(first) <= 32


# HEAD, lifespan


async def test_head_is_get_without_its_body() -> None:
    reply = await call(wrap(Inner()), "HEAD", "/x")
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "3")


async def test_the_servers_own_scope_keeps_its_method() -> None:
    scope = http_scope("HEAD", "/x")
    await wrap(Inner())(scope, None, Reply().take)  # type: ignore[arg-type]
    assert scope["method"] == "HEAD"


async def test_the_lifespan_passes_through() -> None:
    seen = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await wrap(inner)({"type": "lifespan"}, None, None)  # type: ignore[arg-type,typeddict-item]
    assert seen == ["lifespan"]


# The bound of requests in flight


async def test_beyond_the_bound_503_with_retry_after() -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await Inner()(scope, receive, send)

    app = wrap(slow, max_concurrent_requests=2)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(call(app, "GET", "/x")) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await call(app, "GET", "/x")
        release.set()
    assert (refused.status, refused.headers["retry-after"], refused.error["code"]) == (503, "1", "overloaded")
    assert [task.result().status for task in running] == [200, 200]
    assert (await call(app, "GET", "/x")).status == 200


async def test_probes_are_answered_at_the_bound() -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/x":
            await release.wait()
        await Inner()(scope, receive, send)

    app = wrap(slow, max_concurrent_requests=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(call(app, "GET", "/x"))
        await asyncio.sleep(0)
        assert (await call(app, "GET", "/health/live")).status == 200
        release.set()


# Figures


async def figures_after(inner: Any, path: str = "/x") -> Any:
    services = make_services()
    await call(GatewayApp(inner, services), "GET", path)
    return services.process.snapshot()


async def test_an_answered_request_is_counted() -> None:
    figures = await figures_after(Inner())
    assert (figures.requests, figures.errors, figures.client_errors, figures.in_flight) == (1, 0, 0, 0)


async def test_a_refused_request_is_the_clients_error() -> None:
    figures = await figures_after(raising(InvalidRequest("no")))
    assert (figures.requests, figures.errors, figures.client_errors) == (1, 0, 1)


async def test_a_failed_request_is_an_error() -> None:
    figures = await figures_after(raising(ValueError()))
    assert (figures.requests, figures.errors, figures.in_flight) == (1, 1, 0)


async def test_a_stream_that_broke_off_is_an_error() -> None:
    assert (await figures_after(raising(UpstreamUnreachable("gone"), after_start=True))).errors == 1


async def test_a_client_that_left_is_no_error() -> None:
    assert (await figures_after(raising(ClientDisconnected("gone"), after_start=True))).errors == 0


async def test_health_checks_are_not_counted() -> None:
    assert (await figures_after(Inner(), "/health/ready")).requests == 0


async def test_times_are_taken_at_the_begin_and_at_the_end_of_the_reply() -> None:
    services = make_services()
    now = [0.0]

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        now[0] = 0.2
        await send({"type": "http.response.start", "status": 200, "headers": []})
        now[0] = 1.0
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    await call(GatewayApp(inner, services, clock=lambda: now[0]), "GET", "/x")
    snapshot = services.process.snapshot()
    assert snapshot.mean_response_ms == pytest.approx(200)
    assert snapshot.window_duration_ms == pytest.approx(1000)


async def test_open_streams_are_counted_while_they_are_open() -> None:
    services = make_services()
    during = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["record"].stream = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        during.append(services.process.streams)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    await call(GatewayApp(inner, services), "GET", "/x")
    assert (during, services.process.streams) == ([1], 0)


async def test_a_client_that_does_not_wait_for_an_answer_has_a_status_of_its_own() -> None:
    services = make_services()
    await call(GatewayApp(raising(ClientDisconnected("gone")), services), "GET", "/x")
    (labels,) = services.metrics.counters[REQUESTS.name]
    assert labels[2] == "499"


async def test_what_is_refused_at_the_door_counts_for_the_route_that_it_was_meant_for() -> None:
    services = make_services(config=Config(api_key=KEY))
    app = GatewayApp(Inner(), services, paths={"/v1/models"})
    for path in ("/v1/models", "/v1/models/x"):
        await call(app, "GET", path)
    routes = [labels[0] for labels in services.metrics.counters[REQUESTS.name]]
    assert routes == ["/v1/models", "other"]


# The last resort


async def test_a_bug_is_a_json_500_without_a_trace(log: io.StringIO) -> None:
    reply = await call(wrap(raising(ValueError(CANARY))), "POST", "/x", body=CANARY.encode())
    assert reply.status == 500
    assert reply.headers["content-type"] == "application/json"
    assert reply.error["code"] == "internal_error"
    assert reply.headers["x-request-id"] in reply.error["message"]
    assert CANARY not in reply.body.decode()
    assert "Traceback" not in reply.body.decode()


async def test_the_trace_of_a_bug_goes_to_the_log_without_its_values(log: io.StringIO) -> None:
    await call(wrap(raising(ValueError(CANARY))), "POST", "/x")
    bug, request = lines(log)
    assert bug["exception"].endswith("ValueError")
    assert "test_middleware.py" in bug["exception"]
    assert (request["status"], request["error_code"], request["level"]) == (500, "internal_error", "WARNING")
    assert bug["request_id"] == request["request_id"]
    assert CANARY not in log.getvalue()


async def test_an_error_of_ours_is_answered_with_its_status() -> None:
    reply = await call(wrap(raising(InvalidRequest("No.", param="messages", code="invalid_value"))), "POST", "/x")
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "messages", "invalid_value")


async def test_after_the_first_byte_a_bug_leaves_the_reply_unfinished(log: io.StringIO) -> None:
    reply = await call(wrap(raising(ValueError(CANARY), after_start=True)), "POST", "/x")
    assert (reply.status, reply.complete) == (200, False)
    assert CANARY not in log.getvalue()
    assert lines(log)[1]["error_code"] == "internal_error"


async def test_an_error_of_ours_that_litestar_wrapped_is_no_bug(log: io.StringIO) -> None:
    wrapper = RuntimeError("Exception caught after response started")
    wrapper.__cause__ = UpstreamUnreachable("gone")
    await call(wrap(raising(wrapper, after_start=True)), "POST", "/x")
    (request,) = lines(log)
    assert request["error_code"] == "upstream_unreachable"


async def test_a_request_that_the_stopping_server_cancels_gets_503() -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.get_running_loop().create_future()

    reply = Reply()
    task = asyncio.create_task(wrap(endless)(http_scope("POST", "/x"), None, reply.take))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "server_shutting_down", "1")


async def test_after_the_first_byte_a_cancellation_passes_on() -> None:
    with pytest.raises(asyncio.CancelledError):
        await call(wrap(raising(asyncio.CancelledError(), after_start=True)), "POST", "/x")


async def test_a_path_that_is_far_too_long_is_not_even_routed() -> None:
    inner = Inner()
    reply = await call(wrap(inner), "GET", "/v1/models/" + "x" * LONGEST_PATH)
    assert (reply.status, reply.error["code"], inner.scopes) == (404, "unknown_url", [])
    assert len(reply.body) < 300


# The log


async def test_every_request_has_one_line_in_the_log(log: io.StringIO) -> None:
    await call(wrap(Inner()), "GET", "/x", headers={"content-length": "7"})
    (line,) = lines(log)
    assert line.pop("timestamp")
    assert line.pop("duration_ms") >= line.pop("response_ms") >= 0
    assert line == {
        "level": "INFO",
        "type": "other",
        "logger": "app.request",
        "message": "request",
        "request_id": "cw-000000000000-p-1",
        "method": "GET",
        "path": "/x",
        "status": 200,
        "bytes_in": 7,
        "bytes_out": 3,
        "tenant": "anonymous",
        "key_id": "anonymous",
    }


async def test_failures_are_logged_always(log: io.StringIO) -> None:
    await call(wrap(raising(UpstreamUnreachable("no connection"))), "GET", "/x")
    (line,) = lines(log)
    assert (line["status"], line["error_code"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize(
    ("error_type", "status", "told"), [("overloaded_error", 529, "overloaded"), ("api_error", 500, "api_error")]
)
async def test_the_code_that_the_client_is_told_is_logged_or_anthropics_own_word(
    log: io.StringIO, error_type: str, status: int, told: str
) -> None:
    reply = await call(wrap(raising(UpstreamStatus("no", status=status, error_type=error_type))), "GET", "/x")
    (line,) = lines(log)
    assert line["error_code"] == told == (reply.error["code"] or error_type)


async def test_neither_keys_nor_queries_nor_bodies_are_logged(log: io.StringIO) -> None:
    headers = {"authorization": f"Bearer {CANARY}", "x-api-key": CANARY}
    await call(wrap(Inner(), verbose=True), "POST", "/x", headers=headers, body=CANARY.encode(), query=f"k={CANARY}")
    assert CANARY not in log.getvalue()


# Draining


async def test_a_draining_worker_asks_its_clients_to_connect_anew() -> None:
    services = make_services()
    app = GatewayApp(Inner(), services)
    assert not app.draining
    assert "connection" not in (await call(app, "GET", "/x")).headers
    app.begin_drain()
    assert app.draining
    assert services.process.draining
    reply = await call(app, "GET", "/x")
    assert (reply.status, reply.headers["connection"]) == (200, "close")


# Protection


async def test_without_the_key_nothing_reaches_the_app() -> None:
    inner = Inner()
    reply = await call(wrap(inner, api_key=KEY), "POST", "/v1/chat/completions")
    assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert inner.scopes == []


async def test_unknown_urls_need_the_key_too() -> None:
    assert (await call(wrap(Inner(), api_key=KEY), "GET", "/whatever")).status == 401


@pytest.mark.parametrize("headers", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}])
async def test_with_the_key_the_request_passes(headers: dict[str, str]) -> None:
    inner = Inner()
    assert (await call(wrap(inner, api_key=KEY), "GET", "/v1/models", headers=headers)).status == 200
    assert inner.scopes[0]["state"]["caller"].authenticated


@pytest.mark.parametrize(
    "path",
    [
        "/health",
        "/health/live",
        "/health/ready",
        "/docs",
        "/docs/swagger-ui.css",
        "/openapi.json",
        "/swagger.json",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_health_and_documentation_are_open(method: str, path: str) -> None:
    assert (await call(wrap(Inner(), api_key=KEY), method, path)).status == 200


@pytest.mark.parametrize("path", ["/health/detailed", "/healthy", "/docsx", "/v1", "/v1/auth", "/health/detailed/"])
async def test_what_only_looks_open_is_not(path: str) -> None:
    assert (await call(wrap(Inner(), api_key=KEY), "GET", path)).status == 401


async def test_an_unprotected_gateway_takes_any_key() -> None:
    inner = Inner()
    assert (await call(wrap(inner), "GET", "/v1/models", headers={"authorization": "Bearer x"})).status == 200
    assert inner.scopes[0]["state"]["caller"].tenant == "anonymous"


async def test_who_calls_is_noted_for_the_log(log: io.StringIO) -> None:
    await call(wrap(Inner(), api_key=KEY, verbose=True), "GET", "/x", headers={"x-api-key": KEY})
    (line,) = lines(log)
    assert (line["tenant"], line["key_id"]) == ("default", "static")


STORED = key_text("acme", "k7Qm2ZpXv9Rt", "4fJc8LwYb1NsG6hTq0DkPe3VuXa5MiRz")


async def test_on_the_hot_route_a_stored_key_is_left_to_the_admission() -> None:
    inner, state = Inner(), StateAway()
    app = GatewayApp(inner, make_services(state=state))
    await call(app, "POST", "/v1/chat/completions", headers={"x-api-key": STORED, "content-length": "65536"})
    assert not inner.scopes[0]["state"]["caller"].verified
    assert state.asked == 0


@pytest.mark.parametrize("length", [{"content-length": "65537"}, {"content-length": "1" * 11}, {}])
async def test_a_large_body_is_read_for_keys_only_that_are_known(length: dict[str, str]) -> None:
    inner = Inner()
    headers = {"x-api-key": STORED, **length}
    reply = await call(GatewayApp(inner, make_services()), "POST", "/v1/chat/completions", headers=headers)
    assert (reply.status, inner.scopes) == (401, [])


async def test_on_any_other_route_a_stored_key_is_verified_first() -> None:
    inner = Inner()
    reply = await call(GatewayApp(inner, make_services()), "GET", "/v1/models", headers={"x-api-key": STORED})
    assert (reply.status, reply.error["code"], inner.scopes) == (401, "invalid_api_key", [])


class Guessing:
    """A gateway that lets an address try two wrong keys."""

    def __init__(self, inner: Any) -> None:
        self.services = make_services(config=Config(api_key=KEY, guesses_per_minute=2))
        self.app = GatewayApp(inner, self.services)

    async def ask(self, key: str | None, times: int = 1) -> Reply:
        for _ in range(times):
            headers = {"content-length": "2"} | ({} if key is None else {"authorization": f"Bearer {key}"})
            reply = await call(self.app, "POST", "/v1/chat/completions", headers=headers)
            await self.services.gate.close()  # wrong keys are counted beside the requests
        return reply


async def test_wrong_keys_are_counted_and_then_slowed() -> None:
    guessing = Guessing(Inner())
    assert (await guessing.ask("wrong", times=2)).status == 401
    reply = await guessing.ask("another")
    assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
    assert 0 < int(reply.headers["retry-after"]) <= 60
    assert (await guessing.ask(KEY)).status == 200


async def test_a_key_that_the_route_finds_wrong_is_counted_as_well() -> None:
    guessing = Guessing(raising(Unauthenticated("Incorrect API key provided: this gateway does not know it.")))
    assert (await guessing.ask(STORED, times=2)).status == 401
    assert (await guessing.ask(STORED)).status == 429


async def test_a_key_that_was_good_once_is_no_guess() -> None:
    guessing = Guessing(raising(Unauthenticated("This API key was revoked.", guessed=False)))
    assert (await guessing.ask(STORED, times=5)).status == 401


async def test_a_request_without_a_key_is_no_guess() -> None:
    guessing = Guessing(Inner())
    assert (await guessing.ask(None, times=5)).status == 401
    assert (await guessing.ask("wrong")).status == 401


# Without the store


async def test_while_the_store_is_away_every_reply_says_so() -> None:
    app = GatewayApp(Inner(), make_services(state=StateAway()))
    assert (await call(app, "GET", "/x")).headers["x-claude-wrapper-degraded"] == "state"
    assert "x-claude-wrapper-degraded" not in (await call(wrap(Inner()), "GET", "/x")).headers


async def test_a_request_that_the_store_did_not_answer_says_so() -> None:
    async def degraded(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["record"].degraded = True
        await Inner()(scope, receive, send)

    assert (await call(wrap(degraded), "GET", "/x")).headers["x-claude-wrapper-degraded"] == "state"


async def test_an_error_of_the_store_says_so_and_when_to_come_back() -> None:
    reply = await call(wrap(raising(StateUnavailable("The state store is not available."))), "GET", "/x")
    assert (reply.status, reply.error["code"]) == (503, "state_unavailable")
    assert (reply.headers["x-claude-wrapper-degraded"], reply.headers["retry-after"]) == ("state", "1")


async def test_a_session_that_cannot_be_read_is_no_fault_of_the_store() -> None:
    reply = await call(wrap(raising(SessionDamaged("The stored session cannot be read."))), "GET", "/x")
    assert (reply.status, reply.error["code"]) == (503, "session_damaged")
    assert (reply.headers["x-should-retry"], "x-claude-wrapper-degraded" in reply.headers) == ("false", False)


# Browsers

PREFLIGHT = {
    "origin": "https://chat.example.com",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,x-stainless-os",
}


async def test_a_preflight_is_answered_while_protected() -> None:
    app = wrap(Inner(), api_key=KEY, cors_origins=("https://chat.example.com",))
    reply = await call(app, "OPTIONS", "/v1/chat/completions", headers=PREFLIGHT)
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == "https://chat.example.com"
    assert reply.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert reply.headers["x-request-id"]


async def test_errors_are_readable_by_an_allowed_origin() -> None:
    app = wrap(Inner(), api_key=KEY, cors_origins=("https://*.example.com",))
    reply = await call(app, "POST", "/v1/chat/completions", headers={"origin": "https://chat.example.com"})
    assert reply.status == 401
    assert reply.headers["access-control-allow-origin"] == "https://chat.example.com"
    assert {"x-request-id", "retry-after-ms"} <= set(reply.headers["access-control-expose-headers"].split(", "))


async def test_another_origin_gets_no_permission() -> None:
    app = wrap(Inner(), cors_origins=("https://chat.example.com",))
    for method, headers in (("GET", {"origin": "https://evil.example"}), ("OPTIONS", PREFLIGHT | {"origin": "null"})):
        reply = await call(app, method, "/x", headers=headers)
        assert "access-control-allow-origin" not in reply.headers
        assert reply.headers["vary"] == "Origin"


async def test_any_origin_is_a_star() -> None:
    reply = await call(wrap(Inner(), cors_origins=("*",)), "GET", "/x", headers={"origin": "https://x.example"})
    assert reply.headers["access-control-allow-origin"] == "*"


async def test_without_configured_origins_there_are_no_cors_headers() -> None:
    reply = await call(wrap(Inner()), "OPTIONS", "/x", headers=PREFLIGHT)
    assert not [name for name in reply.headers if name.startswith("access-control")]

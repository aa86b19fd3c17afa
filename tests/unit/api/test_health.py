"""The health routes: figures and whose they are, probes that never look at Redis, no secrets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.api.health import STALLED_LOOP_S, not_ready_because, shown_settings
from app.api.middleware import GatewayApp
from app.api.routes import create_litestar
from app.config import Config, settings_of
from app.gateway.admission import ALONE_S
from app.gateway.services import Services
from app.observability.process import PROBE_TICKS, ProcessFigures
from app.state.figures import WorkerFigures
from tests.support.asgi import Reply, call
from tests.support.services import StateAway, make_services
from tests.support.worker_figures import publish

CANARY = "CANARY-7f3a9c"


async def get(services: Services, path: str) -> Reply:
    return await call(GatewayApp(create_litestar(services), services), "GET", path)


async def health(services: Services, path: str = "/health") -> Any:
    reply = await get(services, path)
    assert reply.status == 200
    return reply.json()


def worker(worker_id: str, **figures: Any) -> WorkerFigures:
    return WorkerFigures(worker_id=worker_id, host="pod", pid=1, started_at=0.0, version="1", **figures)


async def test_health_has_the_missions_fields() -> None:
    body = await health(make_services())
    assert body["status"] == "healthy"
    assert body["timestamp"] == "2026-09-21T14:13:20.000Z"
    assert body["uptime"] >= 0
    assert set(body["performance"]) >= {"avgResponseTime", "requestRate"}
    assert body["memory"]["rss"] > 0
    assert body["cpu"]["percent"] >= 0
    assert isinstance(body["version"], str)


async def test_every_figure_says_whose_it_is() -> None:
    body = await health(make_services())
    scopes = [body[name]["scope"] for name in ("memory", "cpu", "sessions", "performance")]
    scopes += [body["scope"][name] for name in ("status", "version", "uptime", "workers")]
    assert set(scopes) <= {"process", "cluster"}


async def test_sessions_are_there_as_long_as_the_store_is() -> None:
    config = Config(max_sessions=7, session_ttl=60)
    bounds = {"scope": "process", "max": 7, "ttl_s": 60}
    assert (await health(make_services(config=config)))["sessions"] == {**bounds, "available": True}
    away = make_services(config=config, state=StateAway())
    assert (await health(away))["sessions"] == {**bounds, "available": False}
    away.process.draining = True
    body = await health(away)
    assert (body["status"], body["sessions"]["available"]) == ("draining", False)


async def test_without_figures_of_others_it_speaks_for_this_process() -> None:
    services = make_services()
    services.process.begin()
    services.process.end(200, failed=False, response_s=0.25, duration_s=0.5)
    performance = (await health(services))["performance"]
    assert (performance["scope"], performance["avgResponseTime"], performance["requests"]) == ("process", 250.0, 1)


async def test_performance_is_summed_over_the_workers_that_share_the_store() -> None:
    services = make_services()
    figures: dict[str, Any] = {"requests": 100, "errors": 2, "in_flight": 3}
    await publish(services.state, worker("a", requests_per_minute=30.0, mean_response_ms=100.0, **figures))
    await publish(services.state, worker("b", requests_per_minute=90.0, mean_response_ms=500.0, **figures))
    body = await health(services)
    assert body["workers"] == 2
    assert body["performance"] == {
        "scope": "cluster",
        "avgResponseTime": 400.0,
        "requestRate": 2.0,
        "inFlight": 6,
        "requests": 200,
        "errors": 4,
    }


async def test_idle_workers_have_no_mean_time() -> None:
    services = make_services()
    await publish(services.state, worker("a"))
    assert (await health(services))["performance"]["avgResponseTime"] == 0.0


async def test_without_the_state_store_it_is_degraded_and_still_200() -> None:
    body = await health(make_services(state=StateAway()))
    assert (body["status"], body["workers"], body["performance"]["scope"]) == ("degraded", 1, "process")


async def test_a_store_that_reads_and_takes_no_writes_is_an_outage_as_well() -> None:
    services = make_services()
    services.admission.alone_at = services.monotonic()
    assert (await health(services))["status"] == "degraded"
    services.admission.alone_at -= ALONE_S
    assert (await health(services))["status"] == "healthy"


async def test_a_draining_worker_says_so() -> None:
    services = make_services()
    services.process.draining = True
    assert (await health(services))["status"] == "draining"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_probes_never_look_at_the_state_store(path: str) -> None:
    state = StateAway()
    assert await health(make_services(state=state), path) == {"status": "ok"}
    assert state.asked == 0


async def test_a_worker_that_is_not_ready_answers_503_with_the_reason() -> None:
    services = make_services()
    services.process.draining = True
    reply = await get(services, "/health/ready")
    assert (reply.status, reply.json()) == (503, {"status": "not_ready", "reason": "draining"})


async def test_a_draining_worker_is_alive() -> None:
    services = make_services()
    services.process.draining = True
    assert (await get(services, "/health/live")).status == 200


def test_a_worker_is_not_ready_before_it_has_started() -> None:
    assert not_ready_because(ProcessFigures()) == "starting"


def test_a_stalled_loop_is_not_ready_until_it_has_kept_up_for_a_while() -> None:
    process = ProcessFigures()
    process.started = True
    process.note_lag(STALLED_LOOP_S + 1)
    assert not_ready_because(process) == "event loop stalled"
    for _ in range(PROBE_TICKS):
        process.note_lag(0.0)
    assert not_ready_because(process) is None


async def test_the_detailed_report_shows_the_inside() -> None:
    services = make_services(config=Config(mock=True, anthropic_api_key="sk-ant-x"))
    await publish(services.state, worker("a", in_flight=7))
    body = await health(services, "/health/detailed")
    assert body["state"]["kind"] == "memory"
    assert body["state"]["breaker"] == "closed"
    assert body["upstream"] == {
        "base_url": "https://api.anthropic.com",
        "mock": True,
        "credential": True,
    }
    assert [figures["in_flight"] for figures in body["worker_figures"]] == [7]
    settings = body["settings"]
    assert (settings["port"], settings["production"], settings["redis_timeout_s"]) == (8000, False, 0.25)
    assert body["runtime"]["packages"]["litestar"]
    assert body["process"]["in_flight"] == 1 - 1


@pytest.mark.parametrize(
    ("config", "has_one"),
    [
        (Config(), False),
        (Config(anthropic_auth_token="t"), True),
        (Config(anthropic_api_keys=("sk-ant-x", "sk-ant-y")), True),
    ],
    ids=["none", "token", "several_keys"],
)
async def test_the_detailed_report_says_whether_there_is_a_credential(config: Config, has_one: bool) -> None:
    body = await health(make_services(config=config), "/health/detailed")
    assert body["upstream"]["credential"] is has_one
    assert "sk-ant" not in str(body)


async def test_the_detailed_report_answers_while_the_state_store_is_away() -> None:
    body = await health(make_services(state=StateAway()), "/health/detailed")
    assert (body["status"], body["state"]["breaker"], body["worker_figures"]) == ("degraded", "open", [])


def test_no_secret_is_shown() -> None:
    secrets = {field: CANARY for field, (help_, _, _) in settings_of(Config).items() if help_.secret}
    secrets["upstream_proxy"] = f"http://user:{CANARY}@proxy.example:3128"
    config = Config(
        **secrets,
        anthropic_base_url=f"https://user:{CANARY}@proxy.example/base",
    )
    shown = shown_settings(config)
    assert CANARY not in msgspec.json.encode(shown).decode()
    assert {shown[field] for field in secrets} == {"set"}
    assert shown_settings(Config())["api_key"] == "not set"


def test_lists_are_shown_as_such_and_pairs_as_an_object() -> None:
    shown = shown_settings(
        Config(cors_origins=("https://a", "https://b"), model_aliases=(("x", "opus"), ("y", "sonnet")))
    )
    assert (shown["cors_origins"], shown["model_aliases"]) == (
        ["https://a", "https://b"],
        {"x": "opus", "y": "sonnet"},
    )

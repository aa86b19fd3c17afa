"""How long calls take, on a real server: what ``connect`` was given has the time of each."""

from __future__ import annotations

from app.domain.histograms import Histogram
from app.state import connect
from app.state.scripts import ScriptCall, script_from_text
from tests.support.redis import RedisServer

_ONE = script_from_text("one", b"return 1")


async def test_calls_scripts_and_pipelines_are_one_each(server: RedisServer) -> None:
    times = Histogram()
    state = connect(server.url, timeout_s=5.0, times=times)
    await state.call("PING")
    await state.pipeline([("SET", "a", "1", "EX", 9), ScriptCall(_ONE, (), ()), ("GET", "a")])
    await state.call("GET", "a", large=True)
    assert sum(times.counts) - times.counts[-1] >= 3  # and one more where the server did not know the script
    assert sum(times.counts) <= 4
    assert 0 < times.total_s < 30
    await state.close()


async def test_a_slow_call_is_seen_as_slow(server: RedisServer) -> None:
    times = Histogram()
    state = connect(server.url, timeout_s=10.0, times=times)
    await state.call("BLPOP", "nothing", "0.3")
    assert times.total_s >= 0.3
    await state.close()

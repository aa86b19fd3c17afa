"""Many clients that do as little as they can: whoever behaves is served meanwhile, and it costs a bounded amount.

Bounds, of one worker: 500 connections that trickle their headers, or leave their bodies unfinished, are closed when
their time is over; 5,000 silent streams take at most 60 KB each, and 10,000 idle connections at most 30 KB; a request
of somebody else is answered within 5 s all the while, on a machine that the tests share.
"""

from __future__ import annotations

import json
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.processes import eventually
from tests.support.raw_http import RawConnection, get
from tests.support.redis import RedisServer, shared_server
from tests.support.simulator import Simulator, running_simulator

__all__ = ["shared_server"]

LORIS = 500
STREAMS = 5_000
CONNECTIONS = 10_000

#: Sockets of the test's process, and some.
OPEN_FILES = 11_000

ANSWERED_WITHIN_S = 5.0
STREAM_KB = 60.0
CONNECTION_KB = 30.0


@pytest.fixture(scope="module", autouse=True)
def _many_open_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < OPEN_FILES:
        pytest.skip(f"a process may open only {hard} files here (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, OPEN_FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


class Abused:
    """A gateway, its only worker, and somebody who behaves.

    Attributes:
        gateway: the gateway.
        worker: its worker.
        waits_s: how long each ordinary request took.
    """

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        (self.worker,) = psutil.Process(gateway.pid).children()
        self.waits_s: list[float] = []

    def ask(self) -> None:
        """An ordinary request, which has to be answered."""
        began = time.monotonic()
        with RawConnection(self.gateway.port, timeout_s=30) as connection:
            connection.send(chat("What is the sea?"))
            assert connection.read_reply()[0] == 200
        self.waits_s.append(time.monotonic() - began)

    def connections(self) -> int:
        """Of clients; those to Redis and to the simulator go elsewhere."""
        return sum(end.laddr.port == self.gateway.port for end in self.worker.net_connections("tcp") if end.raddr)

    def in_flight(self) -> int:
        """Requests that are being answered, as ``/health`` tells; it is told every 5 s."""
        reply: int = get(self.gateway.port, "/health")["performance"]["inFlight"]
        return reply

    def rss_kb(self) -> float:
        return self.worker.memory_info().rss / 1024


@contextmanager
def abused(server: RedisServer, simulator: Simulator, **settings: object) -> Iterator[Abused]:
    """Runs a gateway that must end as it began: no request in flight, the same worker, no complaints."""
    env = {
        "CLAUDE_WRAPPER_REDIS_URL": server.url,
        "CLAUDE_WRAPPER_REDIS_TIMEOUT_S": "5",
        "ANTHROPIC_BASE_URL": simulator.base_url,
        "ANTHROPIC_API_KEY": "sk-ant-test-0123456789abcdef",
    } | {f"CLAUDE_WRAPPER_{name.upper()}": str(value) for name, value in settings.items()}
    with running_gateway("--no-interactive", env=env) as gateway:
        served = Abused(gateway)
        served.ask()
        yield served
        eventually(lambda: served.in_flight() == 0, within_s=60)
        served.ask()
        assert psutil.Process(gateway.pid).children() == [served.worker]
        assert "Traceback" not in gateway.logs
        middle, longest = statistics.median(served.waits_s) * 1000, max(served.waits_s)
        print(f"{len(served.waits_s)} ordinary requests took {middle:.0f} ms (median), {longest:.2f} s at most")
        assert longest < ANSWERED_WITHIN_S


def chat(prompt: str, *, stream: bool = False) -> bytes:
    """A whole request."""
    messages = [{"role": "user", "content": prompt}]
    body = json.dumps({"model": "claude-haiku-4-5", "messages": messages, "stream": stream}).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def trickle(served: Abused, connections: list[RawConnection], *, within_s: float) -> float:
    """Sends byte after byte on each until all are closed, while somebody else asks; returns how long it took."""
    began = time.monotonic()
    trickling = list(connections)
    while served.connections():
        assert time.monotonic() - began < within_s, f"{served.connections()} connections are still there"
        served.ask()
        trickling = [connection for connection in trickling if sent(connection, b"x")]
        time.sleep(0.05)
    return time.monotonic() - began


def sent(connection: RawConnection, data: bytes) -> bool:
    """Whether the connection still takes something."""
    try:
        connection.send(data)
    except OSError:
        return False
    return True


def test_trickled_headers_are_cut_off_in_time(shared_server: RedisServer, simulator: Simulator) -> None:
    """Bound: ``header_timeout_s`` (10 s by default, 3 s here) and a second in which the refusal can be read."""
    with abused(shared_server, simulator, header_timeout_s=3) as served, ExitStack() as stack:
        connections = [stack.enter_context(RawConnection(served.gateway.port)) for _ in range(LORIS)]
        for connection in connections:
            connection.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ")
        took_s = trickle(served, connections, within_s=30)
        print(f"\n{LORIS} connections that trickled headers were gone after {took_s:.1f} s")
    assert took_s > 2.0


def test_unfinished_bodies_are_given_up_in_time(shared_server: RedisServer, simulator: Simulator) -> None:
    """Bound: ``body_timeout_s`` (30 s by default, 3 s here) without a byte, and 10 s to read the refusal."""
    with abused(shared_server, simulator, body_timeout_s=3) as served, ExitStack() as stack:
        connections = [stack.enter_context(RawConnection(served.gateway.port)) for _ in range(LORIS)]
        began = time.monotonic()
        for connection in connections:
            connection.send(chat("x" * 2000)[:-1000])
        while served.connections():
            assert time.monotonic() - began < 40, f"{served.connections()} connections are still there"
            served.ask()
            time.sleep(0.05)
        took_s = time.monotonic() - began
        statuses = {connection.read_reply()[0] for connection in connections}
        print(f"\n{LORIS} unfinished bodies were answered 408 after {took_s:.1f} s")
    assert statuses == {408}


def test_what_is_too_large_is_refused_and_costs_nothing(shared_server: RedisServer, simulator: Simulator) -> None:
    """Bounds: ``max_header_bytes``, ``max_body_bytes``; a body that says its size is refused before it is sent."""
    with abused(shared_server, simulator) as served:
        before_kb = served.rss_kb()
        for _ in range(100):
            with RawConnection(served.gateway.port) as connection:
                connection.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-large: %s\r\n\r\n" % (b"x" * 70_000))
                assert connection.read_reply()[0] == 431
            with RawConnection(served.gateway.port) as connection:
                connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 40000000\r\n\r\n")
                assert connection.read_reply()[0] == 413
            served.ask()
        assert served.rss_kb() - before_kb < 20_000


@pytest.mark.timeout(300)
def test_silent_streams(shared_server: RedisServer, simulator: Simulator) -> None:
    """5,000 streams of one worker whose model says nothing for a long time."""
    settings = {"max_concurrent_requests": STREAMS + 500, "upstream_max_connections": STREAMS + 500}
    with abused(shared_server, simulator, **settings) as served:
        request = chat("Think about it. [[sim: silent_after_events=3]]", stream=True)
        begin_streams(served, request, 200)  # what a worker allocates once, and keeps
        before_kb = served.rss_kb()
        with ExitStack() as stack:
            for count in range(STREAMS):
                connection = stack.enter_context(RawConnection(served.gateway.port, timeout_s=60))
                connection.send(request)
                if count % 100 == 0:
                    connection.read_until(b"data: ")
                    served.ask()
            connection.read_until(b"data: ")
            eventually(lambda: served.in_flight() >= STREAMS, within_s=60)
            per_stream_kb = (served.rss_kb() - before_kb) / STREAMS
            for _ in range(20):
                served.ask()
        print(f"\n{STREAMS} silent streams take {per_stream_kb:.1f} KB each")
    assert per_stream_kb < STREAM_KB


def begin_streams(served: Abused, request: bytes, count: int) -> None:
    """Opens so many streams, and leaves them."""
    with ExitStack() as stack:
        connections = [stack.enter_context(RawConnection(served.gateway.port, timeout_s=60)) for _ in range(count)]
        for connection in connections:
            connection.send(request)
        for connection in connections:
            connection.read_until(b"data: ")


@pytest.mark.timeout(300)
def test_idle_connections(shared_server: RedisServer, simulator: Simulator) -> None:
    """10,000 connections of one worker that were used once; bound: ``keep_alive_s`` (75 s by default, 30 s here)."""
    with abused(shared_server, simulator, keep_alive_s=30) as served, ExitStack() as stack:
        before_kb = served.rss_kb()
        for count in range(CONNECTIONS):
            connection = stack.enter_context(RawConnection(served.gateway.port, timeout_s=60))
            connection.send(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
            assert connection.read_reply()[0] == 200
            if count % 200 == 0:
                served.ask()
        still_open = served.connections()
        assert still_open > CONNECTIONS / 2, "opening them took longer than they may be idle"
        per_connection_kb = (served.rss_kb() - before_kb) / still_open
        idle_since = time.monotonic()
        while served.connections():
            assert time.monotonic() - idle_since < 90, f"{served.connections()} connections are still there"
            served.ask()
            time.sleep(0.2)
        print(f"\n{still_open} idle connections take {per_connection_kb:.1f} KB each")
    assert per_connection_kb < CONNECTION_KB

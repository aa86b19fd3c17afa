"""The end of the whole gateway: what its clients see at SIGTERM.

That everything is settled by then, and no lease is left, is in ``tests/integration/replicas/test_worker_killed.py``.
"""

from __future__ import annotations

import errno
import json
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.processes import eventually
from tests.support.raw_http import RawConnection, get
from tests.support.redis import RedisServer, redis_servers, server

__all__ = ["redis_servers", "server"]

#: A reply of the simulator that takes half a minute.
SLOW = {
    "CLAUDE_WRAPPER_REDIS_URL": "memory://",
    "CLAUDE_WRAPPER_SIMULATOR_TOKENS_PER_SECOND": "20",
    "CLAUDE_WRAPPER_SIMULATOR_OUTPUT_TOKENS": "600",
}


def ask(gateway: RunningGateway, *, stream: bool) -> RawConnection:
    body = {"model": "haiku", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    payload = json.dumps(body).encode()
    connection = RawConnection(gateway.port, timeout_s=30)
    connection.send(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(payload), payload)
    )
    return connection


def test_stream_longer_than_the_limit_ends_with_an_error_event_and_no_done() -> None:
    env = SLOW | {"CLAUDE_WRAPPER_GRACEFUL_TIMEOUT_S": "3"}
    with running_gateway("--mock", env=env) as gateway, ask(gateway, stream=True) as connection:
        connection.read_until(b"data: ")
        gateway.process.send(signal.SIGTERM)
        rest = connection.read_to_end()
        assert gateway.process.wait(within_s=30) == 0
    last = [line for line in rest.decode().splitlines() if line.startswith("data: ")][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "server_shutting_down"
    assert b"[DONE]" not in rest
    assert rest.endswith(b"0\r\n\r\n")
    assert "Traceback" not in gateway.logs


def test_plain_request_longer_than_the_limit_is_answered_503() -> None:
    env = SLOW | {"CLAUDE_WRAPPER_GRACEFUL_TIMEOUT_S": "3"}
    with running_gateway("--mock", env=env) as gateway, ask(gateway, stream=False) as connection:
        eventually(lambda: get(gateway.port, "/health")["performance"]["inFlight"] == 1, within_s=30)
        gateway.process.send(signal.SIGTERM)
        status, headers, body = connection.read_reply()
        assert gateway.process.wait(within_s=30) == 0
    assert status == 503
    assert json.loads(body)["error"]["code"] == "server_shutting_down"
    assert headers["retry-after"].isdigit()


def test_stream_within_the_limit_is_finished() -> None:
    env = SLOW | {"CLAUDE_WRAPPER_SIMULATOR_OUTPUT_TOKENS": "40"}
    with running_gateway("--mock", env=env) as gateway, ask(gateway, stream=True) as connection:
        connection.read_until(b"data: ")
        gateway.process.send(signal.SIGTERM)
        rest = connection.read_to_end()
        assert gateway.process.wait(within_s=30) == 0
    assert b"data: [DONE]\n\n" in rest


def test_gateway_that_drains_is_not_ready_and_answers() -> None:
    env = {"CLAUDE_WRAPPER_REDIS_URL": "memory://", "CLAUDE_WRAPPER_DRAIN_DELAY_S": "4"}
    with running_gateway("--mock", env=env) as gateway:
        assert get(gateway.port, "/health/ready")["status"] == "ok"
        gateway.process.send(signal.SIGTERM)
        eventually(lambda: get(gateway.port, "/health/ready")["status"] == "not_ready", within_s=30)
        assert get(gateway.port, "/v1/models")["object"] == "list"
        assert gateway.process.wait(within_s=30) == 0


def leases(server: RedisServer) -> dict[str, int]:
    """How many requests are let in (``A``), or settled (``S``), by the store."""
    names = server.ask("KEYS", "cw:{*}:lease:v1:*")
    assert isinstance(names, list)
    return Counter(str(server.ask("GET", name), "ascii")[0] for name in names)  # type: ignore[call-overload]


def refuses(port: int) -> bool:
    """Whether a new connection is refused."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


@pytest.mark.parametrize("workers", [1, 2])
def test_new_connections_are_refused_at_once_while_everything_in_flight_goes_on(
    server: RedisServer, workers: int
) -> None:
    env = SLOW | {
        "CLAUDE_WRAPPER_SIMULATOR_OUTPUT_TOKENS": "60",
        "CLAUDE_WRAPPER_REDIS_URL": server.url,
        "CLAUDE_WRAPPER_WORKERS": str(workers),
    }
    with running_gateway("--mock", env=env) as gateway, ExitStack() as stack:
        streams = [stack.enter_context(ask(gateway, stream=True)) for _ in range(12)]
        plain = [stack.enter_context(ask(gateway, stream=False)) for _ in range(12)]
        for stream in streams:
            stream.read_until(b"data: ")
        gateway.process.send(signal.SIGTERM)
        eventually(lambda: refuses(gateway.port), within_s=30)
        with ThreadPoolExecutor(len(streams)) as readers:
            ends = list(readers.map(RawConnection.read_to_end, streams))
        replies = [connection.read_reply() for connection in plain]
        assert gateway.process.wait(within_s=30) == 0
    assert all(b"data: [DONE]\n\n" in end for end in ends)
    assert {(status, headers["connection"]) for status, headers, _ in replies} == {(200, "close")}


def test_streams_are_told_5_s_before_the_limit_and_no_sooner() -> None:
    env = SLOW | {"CLAUDE_WRAPPER_GRACEFUL_TIMEOUT_S": "11"}
    with running_gateway("--mock", env=env) as gateway, ask(gateway, stream=True) as connection:
        connection.read_until(b"data: ")
        gateway.process.send(signal.SIGTERM)
        began = time.monotonic()
        connection.read_until(b"server_shutting_down")
        told_after_s = time.monotonic() - began
        assert gateway.process.wait(within_s=30) == 0
        left_after_s = time.monotonic() - began
    assert 5.9 < told_after_s < 11
    assert left_after_s < 12


def test_every_worker_says_that_it_drains_and_answers(server: RedisServer) -> None:
    env = {"CLAUDE_WRAPPER_REDIS_URL": server.url, "CLAUDE_WRAPPER_DRAIN_DELAY_S": "6", "CLAUDE_WRAPPER_WORKERS": "2"}
    with running_gateway("--mock", env=env) as gateway:

        def said() -> set[str]:
            return {get(gateway.port, "/health/ready")["status"] for _ in range(20)}

        assert said() == {"ok"}
        gateway.process.send(signal.SIGTERM)
        eventually(lambda: said() == {"not_ready"}, within_s=5)
        assert get(gateway.port, "/v1/models")["object"] == "list"
        assert gateway.process.wait(within_s=30) == 0


def test_the_store_is_told_everything_before_it_is_closed(server: RedisServer) -> None:
    """Redis closes last: what streams that were ended have used is written by then, and no connection is left."""
    env = SLOW | {"CLAUDE_WRAPPER_GRACEFUL_TIMEOUT_S": "3", "CLAUDE_WRAPPER_REDIS_URL": server.url}
    with running_gateway("--mock", env=env) as gateway, ExitStack() as stack:
        streams = [stack.enter_context(ask(gateway, stream=True)) for _ in range(5)]
        for stream in streams:
            stream.read_until(b"data: ")
        eventually(lambda: leases(server) == {"A": 5}, within_s=30)
        gateway.process.send(signal.SIGTERM)
        for stream in streams:
            assert b"server_shutting_down" in stream.read_to_end()
        assert gateway.process.wait(within_s=30) == 0
    assert leases(server) == {"S": 5}
    clients = server.ask("CLIENT", "LIST")
    assert isinstance(clients, bytes)
    assert clients.count(b"\n") == 1, "only the one that asks"

"""The end of the whole gateway: what its clients see at SIGTERM."""

from __future__ import annotations

import json
import signal

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.processes import eventually
from tests.support.raw_http import RawConnection, get

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

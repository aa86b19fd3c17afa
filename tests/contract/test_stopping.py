"""A gateway that is stopped, or whose worker is killed, as the official client sees it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import openai
import psutil
import pytest
from openai import OpenAI

from tests.support.mock_gateway import MockGateway, mock_gateway
from tests.support.processes import eventually
from tests.support.questions import MODEL, ask

#: Open streams are told 5 s before this limit.
GRACEFUL_TIMEOUT_S = 6

ENDLESS = "[[sim: output_tokens=4000 tokens_per_second=50 delta_tokens=1 thinking_tokens=1]]"


@pytest.fixture
def gateway() -> Iterator[MockGateway]:
    with mock_gateway(env={"CLAUDE_WRAPPER_GRACEFUL_TIMEOUT_S": str(GRACEFUL_TIMEOUT_S)}) as gateway:
        yield gateway


def read(stream: Any, said: list[str]) -> None:
    said.extend(chunk.choices[0].delta.content or "" for chunk in stream)


def test_a_stream_that_outlives_the_stop_is_told_so_and_settled(
    client: OpenAI, gateway: MockGateway, topic: str
) -> None:
    said: list[str] = []
    with client.chat.completions.create(model=MODEL, messages=ask(f"{topic} {ENDLESS}"), stream=True) as stream:
        read([next(stream), next(stream), next(stream)], said)
        gateway.process.send(signal.SIGTERM)
        begun = time.monotonic()
        with pytest.raises(openai.APIError) as caught:
            read(stream, said)

    assert caught.value.code == "server_shutting_down"
    assert len(said) > 20
    assert time.monotonic() - begun < GRACEFUL_TIMEOUT_S
    assert gateway.process.wait(within_s=GRACEFUL_TIMEOUT_S) == 0


def test_a_stream_that_ends_in_time_is_not_disturbed_by_the_stop(
    client: OpenAI, gateway: MockGateway, topic: str
) -> None:
    said: list[str] = []
    pace = f"[[sim: text='{'0123456789abcdef' * 10}' tokens_per_second=60 delta_tokens=1 thinking_tokens=1]]"
    with client.chat.completions.create(model=MODEL, messages=ask(f"{topic} {pace}"), stream=True) as stream:
        read([next(stream), next(stream), next(stream)], said)
        gateway.process.send(signal.SIGTERM)
        read(stream, said)

    assert "".join(said) == "0123456789abcdef" * 10
    assert gateway.process.wait(within_s=GRACEFUL_TIMEOUT_S) == 0


def workers(gateway: MockGateway) -> list[psutil.Process]:
    """The children of the master that run the same command as it does; one that has just been killed is none."""
    master = psutil.Process(gateway.process.pid)
    return [child for child in master.children() if _command(child) == master.cmdline()]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_a_killed_worker_breaks_its_streams_visibly_and_is_replaced(
    client: OpenAI, gateway: MockGateway, topic: str
) -> None:
    said: list[str] = []
    with client.chat.completions.create(model=MODEL, messages=ask(f"{topic} {ENDLESS}"), stream=True) as stream:
        read([next(stream), next(stream), next(stream)], said)
        (worker,) = workers(gateway)
        worker.kill()
        with pytest.raises(openai.APIConnectionError):
            read(stream, said)
    eventually(lambda: [new for new in workers(gateway) if new.pid != worker.pid] != [], within_s=5)
    completion = client.with_options(max_retries=5).chat.completions.create(model=MODEL, messages=ask("Again?"))

    assert completion.choices[0].finish_reason == "stop"
    assert len(gateway.wait_for_cancelled_calls(topic)) == 1

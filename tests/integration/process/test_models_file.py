"""The models file of a running gateway: what changes in it is taken up, and no request notices."""

from __future__ import annotations

import json
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.processes import eventually

WORKERS = 2
CLIENTS = 4
KEY = "a-key-of-these-tests"

#: The promise is 3 s, as a worker looks once a second; the machine may be busy.
TAKEN_UP_WITHIN_S = 10.0

#: New workers answer within this time.
STARTS_WITHIN_S = 30.0

#: Asked on connections of their own, so many requests in a row have met every worker.
ALL_WORKERS = 20

#: Between two requests of a client: the load is to be there all the time, and not to fill the machine.
PAUSE_S = 0.02

FIRST = '[lines]\nnewest = "claude-opus-5-5"\n'
SECOND = '[lines]\nnewest = "claude-haiku-5-5"\n[models.claude-brand-new-1]\ndisplay_name = "Brand New"\n'

#: Ten thousand times the built-in one.
PRICE = "[models.claude-haiku-5-5.price]\ninput = 1000\noutput = 5000\n"

NOT_TAKEN_UP = "The models file has changed and is not taken up; what was read before counts on."
BEGINS_WITHOUT = "This worker begins without the models of the file, until it is mended."


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "models.toml"
    path.write_text(FIRST)
    return path


@contextmanager
def gateway_with(path: Path, *, workers: int = WORKERS, **env: str) -> Iterator[RunningGateway]:
    """A gateway whose alias ``mine`` leads to a name of the file."""
    settings = {"CLAUDE_WRAPPER_MODELS_FILE": str(path), "CLAUDE_WRAPPER_MODEL_ALIASES": "mine=newest"}
    with running_gateway("--mock", "--workers", str(workers), env=settings | env) as gateway:
        yield gateway


@pytest.fixture
def gateway(path: Path) -> Iterator[RunningGateway]:
    with gateway_with(path) as gateway:
        yield gateway


def ask(gateway: RunningGateway, path: str, body: object = None) -> Any:
    """A reply over a connection of its own: its JSON, or of a stream its text."""
    request = urllib.request.Request(
        gateway.base_url + path,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        content = reply.read()
        return json.loads(content) if reply.headers.get_content_type() == "application/json" else content.decode()


def chat(model: str, **fields: Any) -> dict[str, Any]:
    """A small request."""
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20, **fields}


def meaning(gateway: RunningGateway, name: str) -> str | None:
    """The model that a worker takes a name for."""
    try:
        found: str = ask(gateway, f"/v1/models/{name}")["id"]
    except urllib.error.HTTPError as exc:
        if exc.code != 404:
            raise
        return None
    return found


def comes_to_mean(gateway: RunningGateway, name: str, model: str) -> None:
    """Returns once a name means a model to every worker."""
    eventually(
        lambda: all(meaning(gateway, name) == model for _ in range(ALL_WORKERS)),
        within_s=TAKEN_UP_WITHIN_S,
        message=gateway.logs,
    )


def logged(gateway: RunningGateway, text: str, count: int, *, within_s: float) -> None:
    """Returns once the log says it so often."""
    eventually(lambda: gateway.logs.count(text) >= count, within_s=within_s, message=gateway.logs)


@contextmanager
def load(gateway: RunningGateway) -> Iterator[list[str]]:
    """Clients that ask plain and streamed by names of the file until the block ends; yields what was wrong."""
    wrong: list[str] = []
    over = threading.Event()

    def go_on_asking(number: int) -> None:
        streamed = number % 2 == 0
        body = chat("mine" if number < CLIENTS / 2 else "newest", stream=streamed)
        while not over.wait(PAUSE_S):
            try:
                answer = ask(gateway, "/v1/chat/completions", body)
            except (OSError, ValueError) as exc:
                wrong.append(repr(exc))
            else:
                if streamed and not answer.endswith("data: [DONE]\n\n"):
                    wrong.append(answer[-200:])

    clients = [threading.Thread(target=go_on_asking, args=(number,)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield wrong
    finally:
        over.set()
        for client in clients:
            client.join()


def test_a_changed_file_is_taken_up_by_every_worker_and_no_request_fails(gateway: RunningGateway, path: Path) -> None:
    with load(gateway) as wrong:
        comes_to_mean(gateway, "mine", "claude-opus-5-5")
        path.write_text(SECOND)
        comes_to_mean(gateway, "mine", "claude-haiku-5-5")
        assert "claude-brand-new-1" in [model["id"] for model in ask(gateway, "/v1/models")["data"]]
        assert ask(gateway, "/v1/chat/completions", chat("mine"))["model"] == "claude-haiku-5-5"
        path.write_text(FIRST)
        comes_to_mean(gateway, "newest", "claude-opus-5-5")
    assert wrong == []


def test_a_broken_file_changes_nothing_and_every_worker_says_so_once(gateway: RunningGateway, path: Path) -> None:
    path.write_text("[models")
    logged(gateway, NOT_TAKEN_UP, WORKERS, within_s=TAKEN_UP_WITHIN_S)
    assert meaning(gateway, "mine") == "claude-opus-5-5"
    path.write_text(SECOND)
    comes_to_mean(gateway, "mine", "claude-haiku-5-5")
    assert gateway.logs.count(NOT_TAKEN_UP) == WORKERS


def test_workers_that_begin_while_the_file_is_broken_serve_the_built_in_models_until_it_is_mended(
    gateway: RunningGateway, path: Path
) -> None:
    path.write_text("[models")
    gateway.process.send(signal.SIGHUP)
    logged(gateway, BEGINS_WITHOUT, WORKERS, within_s=STARTS_WITHIN_S)
    comes_to_mean(gateway, "opus", "claude-opus-5-5")
    path.write_text(SECOND)
    comes_to_mean(gateway, "mine", "claude-haiku-5-5")


def test_a_new_price_counts_from_the_next_request_on(path: Path) -> None:
    with gateway_with(path, workers=1, CLAUDE_WRAPPER_API_KEY=KEY) as gateway:
        cheap = cost(gateway)
        path.write_text(FIRST + PRICE)
        logged(gateway, "The models file was taken up", 1, within_s=TAKEN_UP_WITHIN_S)
        assert cost(gateway) == pytest.approx(10_000 * cheap)


def cost(gateway: RunningGateway) -> float:
    """USD that one request of the cheapest model costs."""

    def spent() -> float:
        total: float = ask(gateway, "/v1/usage")["spend"]["total"]
        return total

    before = spent()
    ask(gateway, "/v1/chat/completions", chat("haiku"))
    eventually(lambda: spent() > before, within_s=TAKEN_UP_WITHIN_S)
    return spent() - before

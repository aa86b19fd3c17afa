"""The simulator as a process, spoken to by the official ``anthropic`` client and over bare sockets."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import anthropic
import pytest

from tests.support.simulator import running_simulator

GOLDEN = Path(__file__).parents[1] / "golden"
WEATHER = {
    "name": "get_weather",
    "description": "Weather by city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def process():
    with running_simulator(journal=1000) as simulator:
        yield simulator


@pytest.fixture
def simulator(process):
    process.reset()
    return process


@pytest.fixture
async def client(simulator):
    async with anthropic.AsyncAnthropic(base_url=simulator.base_url, api_key="test-key", max_retries=0) as client:
        yield client


def head(length, version="2026-10-21", more=""):
    """The head of a request for a message."""
    return (
        f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\nanthropic-version: {version}\r\n"
        f"content-length: {length}\r\n{more}\r\n"
    ).encode()


def raw(simulator, payload, *, read_s=0.5, **head_fields):
    """Everything that comes back for a request over a bare socket, until the end or until nothing more comes."""
    data = json.dumps(payload).encode()
    with socket.create_connection((simulator.host, simulator.port)) as connection:
        connection.settimeout(read_s)
        connection.sendall(head(len(data), **head_fields) + data)
        received = b""
        while True:
            try:
                got = connection.recv(65536)
            except TimeoutError:
                return received, "open"
            except ConnectionResetError:
                return received, "reset"
            if not got:
                return received, "closed"
            received += got


def request(prompt="Hello", **fields):
    return {"model": "claude-opus-5", "max_tokens": 500, "messages": [{"role": "user", "content": prompt}], **fields}


async def test_the_official_client_reads_a_message(client):
    message = await client.messages.create(model="claude-opus-5-5", max_tokens=500, messages=HELLO)
    assert message.content[-1].text.startswith("You said: “Hello”.")
    assert message._request_id


async def test_the_official_client_reads_a_stream_into_the_same_message(client):
    fields = {"model": "claude-opus-5-5", "max_tokens": 500, "messages": HELLO}
    plain = await client.messages.create(**fields)
    async with client.messages.stream(**fields) as stream:
        streamed = await stream.get_final_message()
    assert streamed.model_dump(exclude={"content"}) == plain.model_dump(exclude={"content"})
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in plain.content]


async def test_a_tool_round_trip_with_thinking(client):
    fields = {"model": "claude-fable-5-1", "max_tokens": 500, "tools": [WEATHER]}
    question = {"role": "user", "content": "What is the weather in Rome?"}
    asked = await client.messages.create(messages=[question], **fields)
    assert [block.type for block in asked.content] == ["thinking", "tool_use"]
    assert asked.content[1].input == {"city": "Rome"}
    result = {"type": "tool_result", "tool_use_id": asked.content[1].id, "content": "20 degrees"}
    turns = [question, {"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
    answered = await client.messages.create(messages=turns, **fields)
    assert "20 degrees" in answered.content[-1].text


async def test_structured_output_is_parsed_by_the_official_client(client):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    message = await client.messages.create(
        model="claude-opus-5",
        max_tokens=500,
        messages=HELLO,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert isinstance(json.loads(message.content[-1].text)["n"], int)


async def test_a_web_search_is_read_by_the_official_client(client):
    message = await client.messages.create(
        model="claude-opus-5",
        max_tokens=500,
        messages=[{"role": "user", "content": "Search for tea."}],
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
    )
    assert "web_search_tool_result" in [block.type for block in message.content]


async def test_models_are_listed_to_the_official_client(client):
    models = [model async for model in client.models.list(limit=5)]
    assert "claude-opus-5-5" in [model.id for model in models]
    assert len(models) > 10
    assert (await client.models.retrieve("claude-haiku-4-5")).line == "haiku"


async def test_tokens_are_counted_for_the_official_client(client):
    count = await client.messages.count_tokens(model="claude-opus-5", messages=HELLO)
    assert count.input_tokens == 6


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (409, anthropic.ConflictError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
async def test_the_official_client_raises_the_class_of_a_status(client, status, error):
    with pytest.raises(error) as caught:
        await client.messages.create(
            model="claude-opus-5", max_tokens=9, messages=[{"role": "user", "content": f"[[sim: status={status}]]"}]
        )
    assert caught.value.status_code == status
    assert caught.value.request_id.startswith("req_")


async def test_an_error_event_breaks_a_stream_of_the_official_client(client):
    prompt = "[[sim: error_after_events=5 status=529]]"
    with pytest.raises(anthropic.APIStatusError) as caught:
        async with client.messages.stream(
            model="claude-opus-5", max_tokens=99, messages=[{"role": "user", "content": prompt}]
        ) as stream:
            await stream.get_final_message()
    assert caught.value.type == "overloaded_error"


async def test_a_retry_of_the_official_client_succeeds(simulator):
    async with anthropic.AsyncAnthropic(base_url=simulator.base_url, api_key="k", max_retries=1) as client:
        prompt = "[[sim: status=529 times=1 retry_after_ms=1]]"
        message = await client.messages.create(
            model="claude-opus-5", max_tokens=99, messages=[{"role": "user", "content": prompt}]
        )
    assert message.type == "message"
    assert [entry["status"] for entry in simulator.journal()] == [529, 200]


def test_a_cut_closes_the_connection_in_the_middle(simulator):
    received, end = raw(simulator, request("[[sim: cut_at_byte=50]]"))
    assert (len(received.partition(b"\r\n\r\n")[2]), end) == (50, "closed")


def test_a_reset_is_a_reset(simulator):
    assert raw(simulator, request("[[sim: cut_at_byte=50 reset]]"))[1] == "reset"


def test_a_drop_closes_without_a_byte(simulator):
    assert raw(simulator, request("[[sim: drop]]")) == (b"", "closed")


def test_silence_stays_open_without_a_byte(simulator):
    assert raw(simulator, request("[[sim: silent]]")) == (b"", "open")


def test_the_journal_sees_a_client_that_goes_away(simulator):
    raw(simulator, request("[[sim: tokens_per_second=1]]", stream=True), read_s=0.1)
    entry = simulator.journal_until(lambda entries: bool(entries and entries[-1]["client_closed_at"]))[-1]
    assert entry["finished_at"] is None
    assert 0 < entry["client_closed_at"] - entry["at"] < 2
    assert entry["auth"] == "x-api-key"
    assert entry["body"]["stream"] is True


async def test_the_invoice_of_completed_calls_is_the_sum_of_their_usage(simulator, client):
    fields = {"model": "claude-opus-5-5", "max_tokens": 500, "messages": HELLO}
    plain = await client.messages.create(**fields)
    async with client.messages.stream(**fields) as stream:
        streamed = await stream.get_final_message()
    invoice = simulator.settled_invoice()
    line = invoice["completed"]
    assert line == invoice["models"]["claude-opus-5-5"]["completed"]
    assert line["calls"] == 2
    assert line["input_tokens"] == plain.usage.input_tokens + streamed.usage.input_tokens
    assert line["output_tokens"] == plain.usage.output_tokens + streamed.usage.output_tokens
    assert [entry["outcome"] for entry in simulator.journal()] == ["completed", "completed"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_is_billed_for_what_was_made(simulator, stream):
    """25 tokens a second until the client goes, which is when the journal says."""
    prompt = "[[sim: tokens_per_second=25 output_tokens=400 delta_tokens=1]]"
    data = json.dumps(request(prompt, stream=stream, thinking={"type": "disabled"})).encode()
    with socket.create_connection((simulator.host, simulator.port)) as connection:
        connection.settimeout(5 if stream else 0.3)
        connection.sendall(head(len(data)) + data)
        received = b""
        with contextlib.suppress(TimeoutError):
            while received.count(b"text_delta") < 8:
                received += connection.recv(65536)
    simulator.journal_until(lambda entries: bool(entries and entries[-1]["outcome"]))
    entry, cancelled = simulator.journal()[-1], simulator.invoice()["cancelled"]
    assert (cancelled["calls"], entry["outcome"]) == (1, "cancelled")
    assert cancelled["input_tokens"] == entry["billed"]["input_tokens"] > 0
    assert cancelled["output_tokens"] == entry["billed"]["output_tokens"] >= received.count(b"text_delta")
    assert cancelled["output_tokens"] == pytest.approx(25 * (entry["client_closed_at"] - entry["at"]) + 1, abs=2)


@pytest.mark.parametrize(
    ("script", "stream", "outcome"),
    [
        ("cut_at_byte=1500", True, "broken"),
        ("cut_at_byte=1500 reset", True, "broken"),
        ("error_after_events=5", True, "broken"),
        ("silent_after_events=5", True, "broken"),
        ("stall_at_byte=100", False, "broken"),
        ("chunk_bytes=50", True, "completed"),
        ("chunk_bytes=50", False, "completed"),
        ("status=500", True, "refused"),
        ("drop", False, "refused"),
        ("silent", False, "refused"),
    ],
)
def test_the_invoice_says_how_a_call_ended(simulator, script, stream, outcome):
    raw(simulator, request(f"[[sim: {script} output_tokens=100]]", stream=stream), read_s=0.3)
    invoice = simulator.settled_invoice()
    calls = {name: invoice[name]["calls"] for name in ("completed", "cancelled", "broken", "refused")}
    assert calls == dict.fromkeys(calls, 0) | {outcome: 1}
    assert simulator.journal()[-1]["outcome"] == outcome


@pytest.mark.parametrize("stream", [False, True])
def test_the_short_way_is_billed_too(stream):
    with running_simulator(validate=False, output_tokens=20) as simulator:
        for _ in range(3):
            raw(simulator, request(stream=stream), read_s=0.2)
        invoice = simulator.settled_invoice()
    assert (invoice["completed"]["calls"], invoice["completed"]["output_tokens"]) == (3, 60)


def test_requests_sent_ahead_are_answered_in_order(simulator):
    data = [
        json.dumps(request(f"[[sim: text=answer{number} ttft_ms={30 - number * 10}]]")).encode() for number in range(3)
    ]
    with socket.create_connection((simulator.host, simulator.port)) as connection:
        connection.settimeout(5)
        connection.sendall(b"".join(head(len(body)) + body for body in data))
        received = b""
        while b"answer2" not in received:
            received += connection.recv(65536)
    assert received.index(b"answer0") < received.index(b"answer1") < received.index(b"answer2")


def test_a_body_over_the_limit_is_refused_before_it_is_read(simulator):
    with socket.create_connection((simulator.host, simulator.port)) as connection:
        connection.settimeout(5)
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 40000000\r\n\r\n")
        received = connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"request_too_large" in received


def test_what_is_not_http_is_a_400(simulator):
    with socket.create_connection((simulator.host, simulator.port)) as connection:
        connection.settimeout(5)
        connection.sendall(b"hello there\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_paced_streams_keep_their_schedule():
    """A hundred streams of ten deltas a second; what is measured includes this client."""
    with running_simulator(tokens_per_second=40, output_tokens=80, stamp=True, ttft_ms=100) as simulator:
        late_ms: list[float] = []
        data = json.dumps(request(stream=True, thinking={"type": "disabled"})).encode()
        connections = [socket.create_connection((simulator.host, simulator.port)) for _ in range(100)]
        for connection in connections:
            connection.sendall(head(len(data)) + data)
        selector = selectors.DefaultSelector()
        for connection in connections:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
        deadline = time.monotonic() + 20
        finished = 0
        while finished < len(connections) and time.monotonic() < deadline:
            for key, _ in selector.select(1):
                got = key.fileobj.recv(65536)
                now_ms = time.time() * 1000
                late_ms += [now_ms - float(part.split(b" ")[0]) for part in got.split(b'"text_delta","text":"')[1:]]
                if b"\r\n0\r\n\r\n" in got or not got:
                    selector.unregister(key.fileobj)
                    finished += 1
        for connection in connections:
            connection.close()
    assert finished == 100
    assert len(late_ms) == 100 * 20
    assert sorted(late_ms)[int(len(late_ms) * 0.99)] < 250


def test_it_leaves_with_its_parent(tmp_path):
    """The middle process starts a simulator and is killed; the simulator must not stay behind."""
    code = (
        "import subprocess, sys, os\n"
        "child = subprocess.Popen([sys.executable, '-m', 'workers.simulator', '--parent-pid', str(os.getpid())])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline().startswith("http://")
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 5
        while _is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _is_running(pid)


def _is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_a_unix_socket_will_do(tmp_path):
    path = tmp_path / "simulator.sock"
    command = [sys.executable, "-m", "workers.simulator", "--uds", str(path), "--parent-pid", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"unix:{path}\n"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
        process.terminate()
        assert process.wait(timeout=5) == 0
    assert not path.exists()


def golden_requests():
    for path in sorted(GOLDEN.glob("**/*.json")):
        case = json.loads(path.read_text())
        if not isinstance(case, dict):
            continue
        for number, variant in enumerate([case, *case.get("variants", [])]):
            out = variant.get("out")
            if "body_without_schema" in variant:
                out = _with_schema(case, variant)
            if isinstance(out, dict) and out.get("path") == "/v1/messages":
                yield pytest.param(out, id=f"{path.stem}-{number}")


def _with_schema(case, variant):
    """Golden 06 states the body without what all its variants share."""
    body = variant["body_without_schema"]
    form = {"type": "json_schema", "schema": case["transformed_schema"]}
    body = body | {"messages": HELLO, "output_config": body["output_config"] | {"format": form}}
    return {"path": "/v1/messages", "headers": {"anthropic-version": "2026-10-21"}, "body": body}


@pytest.mark.parametrize("out", list(golden_requests()))
def test_the_golden_upstream_requests_are_accepted(simulator, out):
    """All but those with made-up signatures, which are refused for nothing else."""
    headers = dict(out["headers"])
    version = headers.pop("anthropic-version")
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "connection: close\r\n"
    received, _ = raw(simulator, out["body"], read_s=5, version=version, more=more)
    status = received.split(b" ", 2)[1]
    if "SIGX" in json.dumps(out["body"]):
        assert status == b"400"
        assert b"messages.1.content.0: Invalid `signature` in `thinking` block" in received
    else:
        assert status == b"200", received

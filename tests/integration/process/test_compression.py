"""Compression of a running gateway, as clients see it: plain replies above a size, never streams."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard
from openai import DefaultHttpxClient, OpenAI

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.raw_http import RawConnection

#: What the simulator says to this is far beyond ``CLAUDE_WRAPPER_COMPRESSION_MIN_BYTES``.
LONG = "tell me everything [[sim: output_tokens=5000]]"
SHORT = "one word [[sim: output_tokens=5]]"

BROWSER = "gzip, deflate, br, zstd"


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    with running_gateway("--mock", "--verbose", env={"CLAUDE_WRAPPER_LOG_FORMAT": "json"}) as gateway:
        yield gateway


def chat(prompt: str, **fields: Any) -> bytes:
    return json.dumps({"model": "opus", "messages": [{"role": "user", "content": prompt}], **fields}).encode()


def exchange(
    gateway: RunningGateway, line: str, body: bytes = b"", *, accepts: str = "", headers: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """One exchange: status, headers, and the body as it came over the wire."""
    accept = f"accept-encoding: {accepts}\r\n" if accepts else ""
    head = f"{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{accept}{headers}content-length: {len(body)}\r\n\r\n"
    with RawConnection(gateway.port, timeout_s=30) as connection:
        connection.send(head.encode() + body)
        return connection.read_reply()


def decoded(headers: dict[str, str], body: bytes) -> bytes:
    match headers.get("content-encoding"):
        case "gzip":
            return gzip.decompress(body)
        case "zstd":
            return zstandard.ZstdDecompressor().decompress(body)
        case _:
            return body


@pytest.mark.parametrize(
    ("accepts", "coding"), [(BROWSER, "zstd"), ("gzip", "gzip"), ("gzip, zstd;q=0", "gzip"), ("br", None), ("", None)]
)
def test_a_long_answer_comes_in_the_coding_that_its_client_accepts(
    gateway: RunningGateway, accepts: str, coding: str | None
) -> None:
    status, headers, body = exchange(gateway, "POST /v1/chat/completions", chat(LONG), accepts=accepts)
    assert status == 200
    assert headers.get("content-encoding") == coding
    assert headers["vary"] == "accept-encoding"
    answer = json.loads(decoded(headers, body))
    assert len(answer["choices"][0]["message"]["content"]) > 8192
    assert "x-request-id" in headers


def test_a_short_answer_is_sent_as_it_is(gateway: RunningGateway) -> None:
    _, headers, body = exchange(gateway, "POST /v1/chat/completions", chat(SHORT), accepts=BROWSER)
    assert not {"content-encoding", "vary"} & set(headers)
    assert json.loads(body)["object"] == "chat.completion"


def test_a_stream_is_never_compressed(gateway: RunningGateway) -> None:
    body = chat(LONG, stream=True)
    with RawConnection(gateway.port, timeout_s=30) as connection:
        head = f"host: a\r\nconnection: close\r\naccept-encoding: {BROWSER}\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.send(f"POST /v1/chat/completions HTTP/1.1\r\n{head}".encode() + body)
        assert b"content-encoding" not in connection.read_until(b"\r\n\r\n")
        assert b"data: [DONE]" in connection.read_to_end()


@pytest.mark.parametrize("path", ["/v1/models", "/openapi.json", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"])
def test_lists_and_the_files_of_the_docs_are_compressed(gateway: RunningGateway, path: str) -> None:
    _, _, plain = exchange(gateway, f"GET {path}")
    _, headers, body = exchange(gateway, f"GET {path}", accepts=BROWSER)
    assert headers["content-encoding"] == "zstd"
    assert len(body) < len(plain) / 2
    assert decoded(headers, body) == plain


def test_a_picture_is_left_alone(gateway: RunningGateway) -> None:
    _, headers, _ = exchange(gateway, "GET /docs/favicon-32x32.png", accepts=BROWSER)
    assert "content-encoding" not in headers


def test_head_says_what_get_would(gateway: RunningGateway) -> None:
    _, of_get, _ = exchange(gateway, "GET /v1/models", accepts=BROWSER)
    with RawConnection(gateway.port) as connection:
        connection.send(
            f"HEAD /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\naccept-encoding: {BROWSER}\r\n\r\n".encode()
        )
        reply = connection.read_to_end()
    head, _, body = reply.partition(b"\r\n\r\n")
    assert body == b""
    for name in ("content-encoding", "content-length", "vary"):
        assert f"{name}: {of_get[name]}".encode() in head


def test_the_official_client_reads_it(gateway: RunningGateway) -> None:
    with (
        DefaultHttpxClient() as http,
        OpenAI(base_url=f"{gateway.base_url}/v1", api_key="none", http_client=http) as client,
    ):
        raw = client.chat.completions.with_raw_response.create(
            model="opus", messages=[{"role": "user", "content": LONG}]
        )
    assert raw.headers["content-encoding"] in ("zstd", "gzip")
    content = raw.parse().choices[0].message.content
    assert content is not None
    assert len(content) > 8192


def test_the_log_counts_what_was_sent(gateway: RunningGateway) -> None:
    request_id = "compressed-and-counted"
    _, _, body = exchange(
        gateway, "POST /v1/chat/completions", chat(LONG), accepts="gzip", headers=f"x-request-id: {request_id}\r\n"
    )
    line = gateway.process.wait_for(rf"{{.*{request_id}.*\n", within_s=10)[0]
    assert json.loads(line)["bytes_out"] == len(body)


def test_off_is_off() -> None:
    with running_gateway("--mock", env={"CLAUDE_WRAPPER_COMPRESSION": "off"}) as gateway:
        _, headers, _ = exchange(gateway, "GET /v1/models", accepts=BROWSER)
    assert not {"content-encoding", "vary"} & set(headers)

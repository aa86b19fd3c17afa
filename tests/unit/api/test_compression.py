"""Which replies are compressed, how, and what is said about it."""

from __future__ import annotations

import gzip
import random
import threading
from typing import Any

import pytest
import zstandard

from app.api.compression import (
    IN_THREAD_FROM_BYTES,
    Coding,
    Compression,
    accepted,
    choose,
    is_candidate,
    is_compressible,
)
from app.config import Config
from tests.support.asgi import Reply

BODY = b'{"text": "' + b"one and the same again, " * 500 + b'"}'
JSON = (b"content-type", b"application/json")
BOTH: tuple[Coding, ...] = ("zstd", "gzip")


async def replied(
    *pieces: bytes,
    accepts: bytes | None = b"gzip, deflate, br, zstd",
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,),
    status: int = 200,
    min_bytes: int = 1024,
    sized: bool = True,
) -> Reply:
    """What a client gets of a reply in these pieces."""
    reply = Reply()
    compression = Compression(BOTH, min_bytes)
    send = compression.sender({} if accepts is None else {b"accept-encoding": accepts}, reply.take)
    length = (b"content-length", str(sum(map(len, pieces))).encode())
    head: Any = {"type": "http.response.start", "status": status, "headers": [*headers, *([length] if sized else [])]}
    await send(head)
    for piece in pieces[:-1]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": pieces[-1], "more_body": False})
    assert reply.complete
    return reply


def decoded(reply: Reply) -> bytes:
    match reply.headers.get("content-encoding"):
        case "gzip":
            return gzip.decompress(reply.body)
        case "zstd":
            return zstandard.ZstdDecompressor().decompress(reply.body)
        case _:
            return reply.body


@pytest.mark.parametrize(("accepts", "coding"), [(b"gzip, deflate, br, zstd", "zstd"), (b"gzip, deflate", "gzip")])
@pytest.mark.parametrize("sized", [True, False])
async def test_a_large_reply_is_compressed_as_its_client_accepts_it(accepts: bytes, coding: str, sized: bool) -> None:
    reply = await replied(BODY, accepts=accepts, sized=sized)
    assert reply.headers["content-encoding"] == coding
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.headers["vary"] == "accept-encoding"
    assert len(reply.raw_headers) == 4
    assert len(reply.body) < len(BODY) / 10
    assert decoded(reply) == BODY


@pytest.mark.parametrize("accepts", [None, b"", b"br", b"identity", b"gzip;q=0, zstd;q=0"])
async def test_a_client_that_accepts_nothing_of_ours_gets_it_as_it_is_and_caches_are_told(accepts: bytes) -> None:
    reply = await replied(BODY, accepts=accepts)
    assert reply.body == BODY
    assert reply.headers == {
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "vary": "accept-encoding",
    }


@pytest.mark.parametrize("sized", [True, False])
async def test_a_small_reply_is_sent_as_it_is(sized: bool) -> None:
    reply = await replied(b"{}" * 100, sized=sized)
    assert reply.body == b"{}" * 100
    assert "content-encoding" not in reply.headers
    assert "vary" not in reply.headers


async def test_an_error_is_compressed_like_any_other_reply() -> None:
    reply = await replied(BODY, status=400)
    assert (reply.status, reply.headers["content-encoding"]) == (400, "zstd")


async def test_a_reply_that_would_not_become_smaller_is_sent_as_it_is() -> None:
    noise = random.Random(1).randbytes(4096)
    reply = await replied(noise)
    assert reply.body == noise
    assert "content-encoding" not in reply.headers
    assert reply.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("sized", [True, False])
async def test_a_reply_in_several_pieces_is_passed_on_piece_by_piece(sized: bool) -> None:
    reply = await replied(BODY, BODY, BODY, sized=sized)
    assert reply.body == BODY * 3
    assert "content-encoding" not in reply.headers


async def test_a_stream_of_events_is_passed_on_at_once() -> None:
    reply = Reply()
    send = Compression(BOTH, 1024).sender({b"accept-encoding": b"zstd"}, reply.take)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    assert reply.status == 200
    await send({"type": "http.response.body", "body": BODY, "more_body": True})
    assert reply.body == BODY


async def test_a_head_is_not_sent_before_its_body_is_there() -> None:
    reply = Reply()
    send = Compression(BOTH, 1024).sender({b"accept-encoding": b"zstd"}, reply.take)
    await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
    assert reply.status == 0


@pytest.mark.parametrize("accepts", [b"zstd", b"gzip"])
@pytest.mark.parametrize("size_bytes", [IN_THREAD_FROM_BYTES - 1, IN_THREAD_FROM_BYTES])
async def test_a_body_that_would_keep_the_loop_is_compressed_in_a_thread(
    accepts: bytes, size_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[threading.Thread] = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (begun.append(thread), start(thread)))
    body = BODY * (size_bytes // len(BODY) + 1)
    reply = await replied(body[:size_bytes], accepts=accepts)
    assert decoded(reply) == body[:size_bytes]
    assert len(begun) == (size_bytes >= IN_THREAD_FROM_BYTES)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, [(b"content-type", b"image/png")]),
        (200, [(b"content-type", b"text/event-stream; charset=utf-8")]),
        (200, []),
        (200, [JSON, (b"content-encoding", b"br")]),
        (200, [JSON, (b"cache-control", b"public, no-transform")]),
        (206, [JSON]),
        (200, [JSON, (b"content-range", b"bytes 0-1/2")]),
        (204, [JSON]),
        (304, [JSON]),
        (200, [JSON, (b"content-length", b"1023")]),
    ],
)
def test_some_replies_are_left_alone(status: int, headers: list[tuple[bytes, bytes]]) -> None:
    assert not is_candidate(status, headers, 1024)


@pytest.mark.parametrize("size", [[], [(b"content-length", b"1024")], [(b"content-length", b"nonsense")]])
def test_a_text_that_is_large_enough_or_of_unknown_size_may_be_compressed(size: list[tuple[bytes, bytes]]) -> None:
    assert is_candidate(200, [*size, JSON], 1024)


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"application/json; charset=utf-8",
        b"Text/HTML; charset=utf-8",
        b"text/css",
        b"text/javascript",
        b"text/plain; version=0.0.4",
        b"application/problem+json",
        b"application/vnd.oai.openapi+json",
        b"image/svg+xml",
    ],
)
def test_texts_are_compressible(content_type: bytes) -> None:
    assert is_compressible(content_type)


@pytest.mark.parametrize(
    ("accepts", "coding"),
    [
        (b"gzip, zstd", "zstd"),
        (b"gzip", "gzip"),
        (b"x-gzip", "gzip"),
        (b"GZip", "gzip"),
        (b"gzip;q=1.0, zstd;q=0.5", "gzip"),
        (b"gzip;q=0.8, zstd; q=0.8", "zstd"),
        (b"*", "zstd"),
        (b"zstd;q=0, *", "gzip"),
        (b"*;q=0", None),
        (b"gzip, *;q=0", "gzip"),
        (b"identity", None),
        (b"identity, gzip", "gzip"),
        (b"identity, gzip;q=0.5", None),
        (b"identity;q=0, gzip;q=0.1", "gzip"),
        (b"identity;q=0", None),
        (b"br, deflate", None),
        (b"", None),
        (b", ,", None),
    ],
)
def test_the_client_chooses_and_the_order_decides_between_what_it_likes_alike(
    accepts: bytes, coding: str | None
) -> None:
    assert choose(accepts, BOTH) == coding


@pytest.mark.parametrize("entry", [b"gzip;q=2", b"gzip;q=-1", b"gzip;q=nan", b"gzip;q=much", b"gzip;level=1", b";q=1"])
def test_an_entry_of_no_meaning_is_left_out(entry: bytes) -> None:
    assert accepted(b"zstd;q=0.5, " + entry) == {"zstd": 0.5}


def test_a_list_that_is_far_too_long_says_nothing() -> None:
    assert accepted(b"gzip," * 1000) == {}


@pytest.mark.parametrize(("setting", "codings"), [("auto", ("zstd", "gzip")), ("zstd", ("zstd",)), ("gzip", ("gzip",))])
def test_the_setting_says_which_codings_are_offered(setting: Any, codings: tuple[str, ...]) -> None:
    compression = Compression.of(Config(compression=setting, compression_min_bytes=5000))
    assert compression is not None
    assert (compression.codings, compression.min_bytes) == (codings, 5000)


def test_off_is_nothing() -> None:
    assert Compression.of(Config(compression="off")) is None

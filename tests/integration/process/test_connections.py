"""The bounds of a connection: slow headers, large headers, malformed requests, upgrades, slow readers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.support.plain_gateway import PlainGateway, plain_gateway
from tests.support.processes import eventually
from tests.support.raw_http import RawConnection, get

REQUEST = b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainGateway]:
    """Bounds small enough to be reached in a test."""
    output = tmp_path_factory.mktemp("gateway") / "output"
    with plain_gateway(
        output,
        header_timeout_s=1.0,
        max_header_bytes=4096,
        write_timeout_s=1.0,
        stream_buffer_bytes=65536,
        keep_alive_s=4.0,
    ) as gateway:
        yield gateway


@pytest.fixture(scope="module", autouse=True)
def first_worker(gateway: PlainGateway) -> psutil.Process:
    """The worker, before anything was done to it."""
    (worker,) = gateway.process.children()
    return worker


def assert_openai_error(reply: tuple[int, dict[str, str], bytes], status: int, code: str) -> None:
    """The reply is an error in OpenAI's shape, and says that the connection ends."""
    got_status, headers, body = reply
    error = json.loads(body)["error"]
    assert (got_status, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert headers["content-type"].startswith("application/json")
    assert headers["connection"] == "close"
    assert headers["x-request-id"]


def test_half_open_headers_are_gone_after_the_deadline_while_others_are_served(gateway: PlainGateway) -> None:
    started = time.monotonic()
    slow = [RawConnection(gateway.port) for _ in range(300)]
    try:
        for connection in slow:
            connection.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ")
        answered = 0
        (worker,) = gateway.process.children()
        while len(worker.net_connections("tcp")) > 1:
            assert time.monotonic() - started < 30, "the half-open connections are still there"
            assert get(gateway.port, "/")["path"] == "/"
            answered += 1
            for connection in slow[:20]:  # dripping does not help
                try:
                    connection.send(b"x")
                except OSError:
                    break
        for connection in slow[20:]:
            assert_openai_error(connection.read_reply(), 408, "request_timeout")
    finally:
        for connection in slow:
            connection.__exit__()
    assert answered > 1, "the others had to wait until the half-open connections were gone"


def test_connection_that_never_says_a_word_is_closed_silently(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        assert connection.read_to_end() == b""


def test_deadline_holds_for_every_request_of_a_connection(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(REQUEST)
        connection.read_reply()
        connection.send(b"GET /again HTTP/1.1\r\n")
        assert_openai_error(connection.read_reply(), 408, "request_timeout")


def test_idle_connection_is_kept_longer_than_the_deadline_for_headers(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(REQUEST)
        connection.read_reply()
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < 1.6:
            get(gateway.port, "/")
        connection.send(REQUEST)
        assert connection.read_reply()[0] == 200


def test_idle_connection_is_closed_in_the_end(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        started = time.monotonic()
        connection.send(REQUEST)
        connection.read_reply()
        assert connection.read_to_end() == b""
    assert time.monotonic() - started > 3.9


def test_empty_lines_do_not_keep_a_connection(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(REQUEST)
        connection.read_reply()
        connection.send(b"\r\n")
        started = time.monotonic()
        assert connection.read_to_end() == b""
    assert time.monotonic() - started < 3.5, "longer than the deadline for headers: the time of an idle connection"


def test_slow_body_has_nothing_to_do_with_the_deadline_for_headers(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab")
        started = time.monotonic()
        while time.monotonic() - started < 1.6:
            get(gateway.port, "/")
        connection.send(b"cd")
        assert json.loads(connection.read_reply()[2])["body"] == "abcd"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\nx-large: " + b"x" * 5000 + b"\r\n\r\n",
        b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: 1\r\n" % i for i in range(600)) + b"\r\n",
    ],
    ids=["one header", "request line", "many headers"],
)
def test_headers_over_the_limit_are_refused(gateway: PlainGateway, request_bytes: bytes) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(request_bytes)
        assert_openai_error(connection.read_reply(), 431, "request_headers_too_large")


def test_endless_header_is_refused_before_the_deadline(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-endless: ")
        for _ in range(6):
            get(gateway.port, "/")  # so that the pieces arrive one by one
            connection.send(b"x" * 1000)
        assert_openai_error(connection.read_reply(), 431, "request_headers_too_large")


def test_large_body_behind_small_headers_is_no_large_header(gateway: PlainGateway) -> None:
    body = b"y" * 100_000
    with RawConnection(gateway.port) as connection:
        connection.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert json.loads(connection.read_reply()[2])["body"] == body.decode()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost a\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nhost: a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=[
        "garbage", "tls", "http/2", "no colon", "version", "bytes in the path", "empty url", "connect",
        "content-length", "smuggling", "chunk size",
    ],
)  # fmt: skip
def test_malformed_request_is_answered_in_openais_shape(gateway: PlainGateway, request_bytes: bytes) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(request_bytes)
        assert_openai_error(connection.read_reply(), 400, "malformed_request")


def test_garbage_behind_a_complete_request_does_not_spoil_its_reply(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(REQUEST + b"\x00garbage\r\n\r\n")
        status, headers, body = connection.read_reply()
        assert connection.read_to_end() == b""
    assert (status, headers["connection"]) == (200, "close")
    assert json.loads(body)["path"] == "/a"


def test_pipelined_requests_are_answered_in_order(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % i for i in range(5)))
        assert [json.loads(connection.read_reply()[2])["path"] for _ in range(5)] == ["/0", "/1", "/2", "/3", "/4"]


@pytest.mark.parametrize("cut", [1, 60, 121, 122, 124])
def test_offer_of_another_protocol_is_ignored_and_the_body_is_read(gateway: PlainGateway, cut: int) -> None:
    # As Java's HttpClient sends every first request of a connection.
    head = (
        b"POST /java HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 4\r\nHost: a\r\n"
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\nx-kept: 1\r\n\r\n"
    )
    request = head + b"abcd"
    with RawConnection(gateway.port) as connection:
        connection.send(request[:cut])
        get(gateway.port, "/")
        connection.send(request[cut:])
        status, _, body = connection.read_reply()
        connection.send(REQUEST)
        assert connection.read_reply()[0] == 200
    reply = json.loads(body)
    assert (status, reply["body"], reply["path"]) == (200, "abcd", "/java")
    assert reply["headers"] == ["content-length", "host", "x-kept"]


def test_websocket_handshake_is_a_plain_request(gateway: PlainGateway) -> None:
    handshake = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AA==\r\n"
    assert get(gateway.port, "/socket", headers=handshake)["path"] == "/socket"


@pytest.mark.parametrize("path", ["/fail", "/silent"])
def test_failing_application_is_answered_in_openais_shape(gateway: PlainGateway, path: str) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        reply = connection.read_reply()
    assert_openai_error(reply, 500, "internal_error")
    assert b"secret" not in reply[2]


def test_reader_that_takes_nothing_is_disconnected(gateway: PlainGateway) -> None:
    (worker,) = gateway.process.children()
    with RawConnection(gateway.port, receive_buffer_bytes=4096) as connection:
        connection.send(b"GET /large?50000000 HTTP/1.1\r\nhost: a\r\n\r\n")
        eventually(lambda: len(worker.net_connections("tcp")) > 1, within_s=30)
        eventually(lambda: len(worker.net_connections("tcp")) == 1, within_s=30)


def test_slow_reader_that_does_read_gets_everything(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port, receive_buffer_bytes=4096) as connection:
        connection.send(b"GET /large?2000000 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        connection.read_until(b"\r\n\r\n")
        assert len(connection.read_to_end()) == 2_000_000


def test_client_that_still_sends_its_body_reads_an_early_reply(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 5000000\r\n\r\n")
        connection.send(b"x" * 5_000_000)
        assert connection.read_reply()[2] == b"early"
        connection.send(REQUEST)
        assert connection.read_reply()[0] == 200


def test_early_reply_does_not_let_a_body_trickle_for_ever(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 5000000\r\n\r\nx")
        assert connection.read_reply()[2] == b"early"
        started = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - started < 30:
                connection.send(b"x")
                get(gateway.port, "/")


def test_early_reply_to_a_client_that_waits_to_send_ends_the_connection(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(b"POST /early HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 50\r\n\r\n")
        assert connection.read_reply()[2] == b"early"
        assert connection.read_to_end() == b""


def test_replies_carry_a_date_and_do_not_name_the_server(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(REQUEST)
        _, headers, _ = connection.read_reply()
    assert "date" in headers
    assert "server" not in headers


def test_nothing_of_this_has_cost_a_worker(gateway: PlainGateway, first_worker: psutil.Process) -> None:
    assert gateway.process.children() == [first_worker]


CHUNKED = b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


def test_trailers_without_an_end_are_refused(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(CHUNKED + b"2\r\nhi\r\n0\r\n")
        for _ in range(64):
            connection.send(b"x: " + b"y" * 125 + b"\r\n")
        assert_openai_error(connection.read_reply(), 400, "malformed_request")


def test_a_body_in_chunks_of_one_byte_is_taken(gateway: PlainGateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(CHUNKED + b"1\r\nx\r\n" * 5000 + b"0\r\nx-checksum: 1\r\n\r\n")
        status, _, _ = connection.read_reply()
        assert status == 200

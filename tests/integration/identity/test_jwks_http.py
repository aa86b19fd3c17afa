"""A JWKS over a real connection: its bounds in time, size and place."""

from __future__ import annotations

import asyncio
import ssl
import time

import pytest
import trustme

from app.config import Config
from app.errors import IdentityUnavailable
from app.identity import jwks_http, open_jwt
from app.identity.jwks import FetchFailed
from app.identity.jwks_http import MAX_DOCUMENT_BYTES, fetch_jwks
from tests.support.raw_upstream import Peer, raw_upstream
from tests.support.tokens import NOW, jwk, jwks, rsa_key, token


def always(status: int, body: bytes = b"", **headers: str):
    """A server that answers every request alike."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.reply(status, body, **headers)

    return script


async def failure(url: str) -> str:
    with pytest.raises(FetchFailed) as raised:
        await fetch_jwks(url)
    return str(raised.value)


async def test_the_document_comes_over_a_connection_of_its_own_that_is_closed() -> None:
    seen, gone = [], asyncio.Event()

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        peer.reply(200, b'{"keys":[]}')
        await peer.gone()
        gone.set()

    async with raw_upstream(script) as issuer:
        assert await fetch_jwks(f"{issuer.base_url}/jwks?a=b") == b'{"keys":[]}'
        async with asyncio.timeout(2):
            await gone.wait()
    assert seen[0].line == "GET /jwks?a=b HTTP/1.1"
    assert seen[0].header("accept") == "application/jwk-set+json, application/json"
    assert seen[0].header("authorization") is None


async def test_a_verifier_fetches_by_itself() -> None:
    async with raw_upstream(always(200, jwks(jwk(rsa_key(), "r")))) as issuer:
        verifier = open_jwt(Config(jwt_jwks_url=f"{issuer.base_url}/jwks"), now=lambda: NOW)
        assert verifier is not None
        caller = await verifier.verify(token(rsa_key(), "RS256", header={"kid": "r"}))
        await verifier.close()
    assert caller.subject == "user-1"
    assert len(issuer.peers) == 1


async def test_an_issuer_that_is_not_there_is_our_own_503() -> None:
    verifier = open_jwt(Config(jwt_jwks_url="http://127.0.0.1:1/jwks"), now=lambda: NOW)
    assert verifier is not None
    with pytest.raises(IdentityUnavailable, match="cannot be fetched"):
        await verifier.verify(token(rsa_key(), "RS256", header={"kid": "r"}))


async def test_a_refused_connection_and_an_unknown_name() -> None:
    assert "cannot be reached" in await failure("http://127.0.0.1:1/jwks")
    assert "cannot be reached" in await failure("http://nowhere.invalid/jwks")


@pytest.mark.parametrize("status", [204, 304, 400, 401, 404, 500, 503])
async def test_any_status_but_200_is_no_answer(status: int) -> None:
    async with raw_upstream(always(status)) as issuer:
        assert await failure(issuer.base_url) == f"answered with status {status}"


@pytest.mark.parametrize("framing", [b"content-length: 2000000\r\n\r\n", b"\r\n"])
async def test_a_document_over_1_mib_is_not_read_to_its_end(framing: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"x" * (MAX_DOCUMENT_BYTES + 1))
        await peer.gone()

    async with raw_upstream(script) as issuer:
        assert "larger than 1048576 bytes" in await failure(issuer.base_url)


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"])
async def test_an_issuer_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch, beginning: bytes) -> None:
    monkeypatch.setattr(jwks_http, "FETCH_S", 0.2)

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(beginning)
        await peer.gone()

    async with raw_upstream(script) as issuer:
        began = time.monotonic()
        assert await failure(issuer.base_url) == "did not answer within 0.2 s"
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"])
async def test_what_is_no_http_or_breaks_off(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(answer)
        await peer.writer.drain()

    async with raw_upstream(script) as issuer:
        assert "cannot be reached, or broke off" in await failure(issuer.base_url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_within_the_host_is_followed(status: int) -> None:
    async def script(peer: Peer) -> None:
        if (await peer.request()).line == "GET /old HTTP/1.1":
            peer.reply(status, location="/new")
            await peer.request()
        peer.reply(200, b"{}")

    async with raw_upstream(script) as issuer:
        assert await fetch_jwks(f"{issuer.base_url}/old") == b"{}"


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:1/jwks", "//127.0.0.1:1/", "https://issuer.example/jwks", "http://localhost/", "file:///etc/x"],
)
async def test_a_redirect_to_another_host_is_not_followed(location: str) -> None:
    async with raw_upstream(always(302, location=location)) as issuer:
        assert "redirects to" in await failure(issuer.base_url)


@pytest.mark.parametrize(("location", "words"), [("/again", "too often"), ("http://[::1", "no URL"), ("", "too often")])
async def test_a_redirect_that_leads_nowhere(location: str, words: str) -> None:
    async with raw_upstream(always(302, location=location)) as issuer:
        assert words in await failure(issuer.base_url)


async def test_a_proxy_is_not_used_towards_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    async with raw_upstream(always(200, b"{}")) as issuer:
        assert await fetch_jwks(issuer.base_url) == b"{}"


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
async def test_a_proxy_is_used_towards_others_but_those_of_no_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    async with raw_upstream(always(200, b"by proxy")) as proxy:
        monkeypatch.setenv(variable, proxy.base_url)
        assert await fetch_jwks("http://issuer.invalid/jwks") == b"by proxy"
        monkeypatch.setenv("no_proxy", "issuer.invalid")
        assert "cannot be reached" in await failure("http://issuer.invalid/jwks")


async def test_a_certificate_that_is_not_trusted_is_refused() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with raw_upstream(always(200, b"{}"), tls=context) as issuer:
        assert "cannot be reached" in await failure(issuer.base_url)

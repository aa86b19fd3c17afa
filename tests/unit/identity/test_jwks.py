"""Keys by URL: rotation, outages, and how often the URL is asked."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from app.errors import IdentityUnavailable, Unauthenticated
from app.identity.jwks import FetchFailed, Jwks
from tests.support.tokens import ec_key, jwk, jwks, rsa_key

URL = "https://issuer.example/jwks?key=geheim"
OLD, NEW = jwks(jwk(rsa_key(), "old")), jwks(jwk(rsa_key("two"), "new"))


class Issuer:
    """An issuer, its clock, and a count of how often its keys were fetched."""

    def __init__(self, document: bytes = OLD) -> None:
        self.document = document
        self.now_s = 1000.0
        self.fetches = 0
        self.away = False
        self.open = asyncio.Event()
        self.open.set()
        self.keys = Jwks(URL, self.fetch, clock=lambda: self.now_s)

    async def fetch(self, url: str) -> bytes:
        assert url == URL
        self.fetches += 1
        await self.open.wait()
        if self.away:
            raise FetchFailed("did not answer within 5 s")
        return self.document

    async def has(self, kid: str | None) -> bool:
        """Whether a token with that key is let in now."""
        try:
            return (await self.keys.key("RS256", kid)).algorithm == "RS256"
        except Unauthenticated:
            return False

    async def in_background(self) -> None:
        """Lets a fetch that was started come to its end."""
        for _ in range(5):
            await asyncio.sleep(0)


async def test_nothing_is_fetched_before_a_token_comes() -> None:
    issuer = Issuer()
    await issuer.in_background()
    assert issuer.fetches == 0


async def test_keys_are_fetched_once_for_many_tokens() -> None:
    issuer = Issuer()
    for _ in range(100):
        assert await issuer.has("old")
        issuer.now_s += 1
    assert issuer.fetches == 1


async def test_many_tokens_at_once_share_one_fetch() -> None:
    issuer = Issuer()
    issuer.open.clear()
    waiting = [asyncio.create_task(issuer.has("old")) for _ in range(50)]
    await issuer.in_background()
    issuer.open.set()
    assert await asyncio.gather(*waiting) == [True] * 50
    assert issuer.fetches == 1


async def test_a_client_that_leaves_does_not_end_the_fetch_of_the_others() -> None:
    issuer = Issuer()
    issuer.open.clear()
    leaving, staying = (asyncio.create_task(issuer.has("old")) for _ in range(2))
    await issuer.in_background()
    leaving.cancel()
    await issuer.in_background()
    issuer.open.set()
    assert await staying
    assert issuer.fetches == 1


# Rotation


async def test_a_new_key_is_found_as_soon_as_a_token_names_it() -> None:
    issuer = Issuer()
    assert await issuer.has("old")
    issuer.document, issuer.now_s = NEW, issuer.now_s + 10
    assert await issuer.has("new")
    assert not await issuer.has("old")
    assert issuer.fetches == 2


async def test_a_kid_that_nobody_knows_is_asked_for_once_in_ten_seconds() -> None:
    issuer = Issuer()
    assert await issuer.has("old")
    for second in range(100):
        assert not await issuer.has(f"nobody-{second}")
        assert await issuer.has("old")
        issuer.now_s += 1
    assert issuer.fetches == 10


async def test_many_unknown_kids_at_once_share_one_fetch() -> None:
    issuer = Issuer()
    assert await issuer.has("old")
    issuer.document, issuer.now_s = NEW, issuer.now_s + 10
    issuer.open.clear()
    waiting = [asyncio.create_task(issuer.has(kid)) for kid in ["new", *(f"nobody-{n}" for n in range(50))]]
    await issuer.in_background()
    issuer.open.set()
    assert await asyncio.gather(*waiting) == [True] + [False] * 50
    assert issuer.fetches == 2


async def test_keys_are_replaced_beside_the_requests_after_five_minutes() -> None:
    issuer = Issuer()
    assert await issuer.has("old")
    issuer.document, issuer.now_s = NEW, issuer.now_s + 299
    assert await issuer.has("old")
    await issuer.in_background()
    assert issuer.fetches == 1
    issuer.now_s += 1
    issuer.open.clear()
    assert await issuer.has("old")  # which does not wait
    issuer.open.set()
    await issuer.in_background()
    assert issuer.fetches == 2
    assert not await issuer.has("old")


async def test_keys_older_than_ten_minutes_are_not_used_before_they_are_fetched_anew() -> None:
    issuer = Issuer()
    assert await issuer.has("old")
    issuer.document, issuer.now_s = NEW, issuer.now_s + 600
    assert not await issuer.has("old")
    assert issuer.fetches == 2


# Tokens without kid


async def test_a_token_without_kid_is_of_the_only_key_that_fits() -> None:
    issuer = Issuer(jwks(jwk(rsa_key()), jwk(ec_key(), "e")))
    assert (await issuer.keys.key("RS256", None)).kid is None
    assert (await issuer.keys.key("ES256", None)).kid == "e"


async def test_a_token_without_kid_is_refused_where_several_keys_fit() -> None:
    issuer = Issuer(jwks(jwk(rsa_key(), "a"), jwk(rsa_key("two"), "b")))
    with pytest.raises(Unauthenticated, match="does not say which"):
        await issuer.keys.key("RS256", None)


async def test_a_token_without_kid_is_refused_where_none_fits() -> None:
    with pytest.raises(Unauthenticated, match="no key of its issuer"):
        await Issuer().keys.key("ES256", None)


async def test_a_kid_that_two_keys_have_names_none() -> None:
    assert not await Issuer(jwks(jwk(rsa_key(), "a"), jwk(rsa_key("two"), "a"))).has("a")


async def test_a_kid_may_be_shared_by_keys_of_two_kinds() -> None:
    issuer = Issuer(jwks(jwk(rsa_key(), "a"), jwk(ec_key(), "a")))
    assert (await issuer.keys.key("ES256", "a")).algorithm == "ES256"
    assert await issuer.has("a")


# The URL is away


async def test_without_any_keys_it_is_the_gateway_that_cannot_tell() -> None:
    issuer = Issuer()
    issuer.away = True
    for _ in range(100):
        with pytest.raises(IdentityUnavailable, match="cannot be fetched now") as raised:
            await issuer.keys.key("RS256", "old")
        issuer.now_s += 1
    assert issuer.fetches == 10
    assert (raised.value.code, raised.value.retry_after_s) == ("identity_unavailable", 10)


async def test_keys_serve_on_for_an_hour_without_waiting() -> None:
    issuer = Issuer()
    assert await issuer.has("old")
    issuer.away, issuer.now_s = True, issuer.now_s + 600
    assert await issuer.has("old")
    issuer.open.clear()
    while issuer.now_s < 1000 + 3599:
        issuer.now_s += 1
        assert await asyncio.wait_for(issuer.has("old"), 1)
    issuer.open.set()
    await issuer.in_background()
    issuer.now_s += 1
    with pytest.raises(IdentityUnavailable):
        await issuer.has("old")


async def test_an_away_url_is_asked_every_ten_seconds() -> None:
    issuer = Issuer()
    assert await issuer.has("old")
    issuer.away, issuer.now_s = True, issuer.now_s + 600
    for _ in range(100):
        assert await issuer.has("old")
        await issuer.in_background()
        issuer.now_s += 1
    assert issuer.fetches == 1 + 10


async def test_it_is_back_with_the_next_fetch() -> None:
    issuer = Issuer()
    issuer.away = True
    with pytest.raises(IdentityUnavailable):
        await issuer.has("old")
    issuer.away, issuer.now_s = False, issuer.now_s + 10
    assert await issuer.has("old")


async def test_an_unknown_kid_may_be_a_good_one_while_the_url_is_away() -> None:
    issuer = Issuer()
    assert await issuer.has("old")
    issuer.away, issuer.now_s = True, issuer.now_s + 10
    with pytest.raises(IdentityUnavailable):
        await issuer.has("new")
    with pytest.raises(Unauthenticated):
        await issuer.keys.key("ES256", "old")  # this one is known, and of another kind


@pytest.mark.parametrize("document", [b"<html>", b"{}", b"\xff"])
async def test_a_broken_document_keeps_the_old_keys_and_is_told_once(document: bytes, caplog: Any) -> None:
    issuer = Issuer()
    assert await issuer.has("old")
    issuer.document, issuer.now_s = document, issuer.now_s + 600
    for _ in range(10):
        assert await issuer.has("old")
        await issuer.in_background()
        issuer.now_s += 10
    issuer.document = NEW
    await issuer.has("old")
    await issuer.in_background()
    assert await issuer.has("new")
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "No keys from the JWKS at issuer.example: it is no JWKS" in caplog.text
    assert "The JWKS at issuer.example is back" in caplog.text
    assert "geheim" not in caplog.text


async def test_a_first_fetch_that_fails_is_told_for_what_it_is(caplog: Any) -> None:
    issuer = Issuer()
    issuer.away = True
    with pytest.raises(IdentityUnavailable):
        await issuer.has("old")
    assert "did not answer within 5 s. No token can be checked" in caplog.text


async def test_an_issuer_may_take_back_every_key(caplog: Any) -> None:
    issuer = Issuer()
    assert await issuer.has("old")
    issuer.document, issuer.now_s = jwks(), issuer.now_s + 600
    assert not await issuer.has("old")
    assert "holds no key" in caplog.text


async def test_closing_ends_a_fetch_that_still_runs() -> None:
    issuer = Issuer()
    await issuer.keys.close()
    issuer.open.clear()
    waiting = asyncio.create_task(issuer.has("old"))
    await issuer.in_background()
    await issuer.keys.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting

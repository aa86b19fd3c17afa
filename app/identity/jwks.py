"""The issuer's keys, by URL: fetched when they are needed, kept while the URL is away, asked for anew when they turn.

A worker fetches at most once in ``MIN_INTERVAL_S``, whatever tokens come, and callers that wait share one fetch. How
the document is got is an argument. Source: DESIGN.md section 4 ("JWT works as always").
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from app.errors import IdentityUnavailable, Unauthenticated
from app.identity.signing_keys import Algorithm, KeyRefused, SigningKey, jwks_keys

log = logging.getLogger(__name__)

#: From this age on keys are fetched again beside the requests that use them.
REFRESH_AFTER_S: Final = 300.0

#: Keys of this age are used only if they cannot be had anew.
FRESH_S: Final = 600.0

#: Keys of this age are not used any more.
KEPT_S: Final = 3600.0

#: A fetch follows another at this interval at the earliest, also for a ``kid`` that nobody knows.
MIN_INTERVAL_S: Final = 10.0


class FetchFailed(Exception):
    """The document cannot be had; the text says why, without the URL."""


class Jwks:
    """The keys of a JWKS.

    Args:
        url: where it is.
        fetch: gets the document at a URL, within a time of its own; raises ``FetchFailed``.
        clock: monotonic seconds.
    """

    def __init__(self, url: str, fetch: Callable[[str], Awaitable[bytes]], *, clock: Callable[[], float]) -> None:
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[SigningKey, ...] = ()
        self._keys_at = float("-inf")
        self._tried_at = float("-inf")
        self._away = False
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, algorithm: Algorithm, kid: str | None) -> SigningKey:
        """The key of a token.

        Args:
            algorithm: of the token, an accepted one.
            kid: of the token; without it the key has to be the only one for its algorithm.

        Raises:
            Unauthenticated: there is no such key.
            IdentityUnavailable: the keys cannot be had, and the one is not among those that are known.
        """
        await self._freshen()
        if not self._is_known(kid) and self._may_fetch():
            await self._fetched()
        fitting = [key for key in self._keys if key.algorithm == algorithm and (kid is None or key.kid == kid)]
        if len(fitting) == 1:
            return fitting[0]
        if self._away and not self._is_known(kid):
            raise IdentityUnavailable(
                "The keys of the token's issuer cannot be fetched now; try again in a moment.",
                retry_after_s=MIN_INTERVAL_S,
            )
        if kid is None and fitting:
            raise Unauthenticated("The token does not say which of its issuer's keys has signed it (kid).")
        raise Unauthenticated("The token is signed with no key of its issuer that is accepted here.")

    async def close(self) -> None:
        """Ends a fetch that still runs."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _is_known(self, kid: str | None) -> bool:
        """Whether there is a key of that name; of any, for a token that names none."""
        return any(kid is None or key.kid == kid for key in self._keys)

    def _may_fetch(self) -> bool:
        return self._fetching is not None or self._clock() - self._tried_at >= MIN_INTERVAL_S

    async def _freshen(self) -> None:
        """Forgets keys that are too old, and sees to it that the others get replaced in time."""
        age_s = self._clock() - self._keys_at
        if age_s >= KEPT_S:
            self._keys = ()
        if age_s < REFRESH_AFTER_S or not self._may_fetch():
            return
        if age_s < FRESH_S or (self._away and self._keys):
            self._start()
        else:
            await self._fetched()

    async def _fetched(self) -> None:
        """Returns once a fetch is through; a caller that leaves does not end it for the others."""
        await asyncio.shield(self._start())

    def _start(self) -> asyncio.Task[None]:
        """The fetch that is under way, or a new one."""
        if self._fetching is None:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._replace_keys())
        return self._fetching

    async def _replace_keys(self) -> None:
        try:
            keys = jwks_keys(await self._fetch(self._url))
        except (FetchFailed, KeyRefused) as exc:
            if not self._away:
                log.warning("No keys from the JWKS at %s: it %s. %s", self._place, exc, self._what_now())
            self._away = True
            return
        finally:
            self._fetching = None
        if self._away:
            log.warning("The JWKS at %s is back.", self._place)
        elif not keys:
            log.warning("The JWKS at %s holds no key that tokens could be checked with.", self._place)
        self._keys, self._keys_at, self._away = keys, self._clock(), False

    def _what_now(self) -> str:
        if self._keys:
            return "The keys known before serve for an hour."
        return "No token can be checked with them until there are some."

    @property
    def _place(self) -> str:
        """The host alone: a query may be a secret."""
        return urlsplit(self._url).netloc

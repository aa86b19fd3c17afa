"""Tells a webhook of alerts: signed, with a deadline, again and again until it has been told.

Events go one after another, so that nobody hears that something is resolved before they heard of it. A receiver that
is away is tried again for a day. Each event may arrive twice, when the leader died before it could note that it was
told: the header ``webhook-id`` is the same then. The URL is a secret and stands in no message.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from app.domain.alert_notices import json_body, signature, slack_body
from app.domain.alerts import AlertEvent
from app.gateway.alert_settings import WebhookSettings

log = logging.getLogger(__name__)

#: For one attempt, from the look-up of the name to the status.
ATTEMPT_S: Final = 5.0
#: Before the second, third, ... attempt; the last one holds for all that follow.
WAITS_S: Final = (1.0, 5.0, 30.0, 120.0, 600.0)
#: What could not be told for so long is given up.
GIVE_UP_AFTER_S: Final = 24 * 3600.0

#: Statuses that every further attempt will get: not understood, gone for good, too large, not valid.
#: Anything else may pass: a receiver that is being deployed answers 404, one whose secret is being replaced 401.
_FINAL: Final = frozenset({400, 410, 413, 422})


class NotTold(Exception):
    """An attempt has failed.

    Args:
        why: in words, without the URL.
        may_pass: another attempt may succeed.
    """

    def __init__(self, why: str, *, may_pass: bool) -> None:
        super().__init__(why)
        self.why = why
        self.may_pass = may_pass


class Teller(Protocol):
    """Makes one attempt."""

    async def __call__(self, event: AlertEvent) -> None:
        """Tells an event.

        Raises:
            NotTold: it was not told.
        """
        ...


class Webhook:
    """The receiver of a deployment; a ``Teller``.

    Args:
        settings: where it is.
        version: of the gateway.
        host: of this replica.
        post: sends a body with headers to a URL and returns the status; raises ``NotTold``.
        now: the wall clock, in Unix seconds.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        version: str,
        host: str,
        post: Callable[[str, Mapping[str, str], bytes], Awaitable[int]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._version = version
        self._host = host
        self._post = post
        self._now = now

    async def __call__(self, event: AlertEvent) -> None:
        """One attempt to tell an event."""
        make = json_body if self._settings.format == "json" else slack_body
        body = make(event, version=self._version, host=self._host)
        status = await self._post(self._settings.url, self._headers(event.id, body), body)
        if not 200 <= status < 300:
            raise NotTold(f"it answered with status {status}", may_pass=status not in _FINAL)

    def _headers(self, event_id: str, body: bytes) -> dict[str, str]:
        timestamp = int(self._now())
        headers = {
            "content-type": "application/json",
            "user-agent": f"claude-wrapper/{self._version}",
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
        }
        if self._settings.key is not None:
            headers["webhook-signature"] = signature(
                self._settings.key, event_id=event_id, timestamp=timestamp, body=body
            )
        return headers


class Courier:
    """Takes events to the receiver, in their order, each until it is told or given up.

    Args:
        tell: makes an attempt.
        on_done: called with the id of an event that need not be told any more.
        now: the wall clock, in Unix seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        tell: Teller,
        *,
        on_done: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tell = tell
        self._on_done = on_done
        self._now = now
        self._sleep = sleep
        self._waiting: dict[str, AlertEvent] = {}
        self._has_some = asyncio.Event()

    def take(self, events: Iterable[AlertEvent]) -> None:
        """Further events; those that it has it does not take again."""
        for event in events:
            self._waiting.setdefault(event.id, event)
        if self._waiting:
            self._has_some.set()

    def drop_all(self) -> None:
        """Somebody else tells them."""
        self._waiting.clear()

    async def run(self) -> None:
        """Takes them away for as long as it runs."""
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            while self._waiting:
                event = next(iter(self._waiting.values()))
                await self._deliver(event)
                if self._waiting.pop(event.id, None) is not None:
                    self._on_done(event.id)

    async def _deliver(self, event: AlertEvent) -> None:
        attempts = 0
        while event.id in self._waiting:
            try:
                await self._tell(event)
            except NotTold as exc:
                if not exc.may_pass or self._now() - event.at > GIVE_UP_AFTER_S:
                    log.error("The webhook was not told of an alert: %s.", exc.why, extra=_which(event))  # noqa: TRY400
                    return
                if not attempts:
                    log.warning("The webhook is not told yet, and tried again: %s.", exc.why, extra=_which(event))
                await self._sleep(WAITS_S[min(attempts, len(WAITS_S) - 1)])
                attempts += 1
            else:
                return


def _which(event: AlertEvent) -> dict[str, str]:
    return {"alert": event.alert, "event_id": event.id}


async def post_over_http(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """Posts a body over a connection of its own; redirects are not followed.

    Certificates are verified by what the system or ``SSL_CERT_FILE`` trusts; ``HTTPS_PROXY`` and its family are
    honoured.

    Returns:
        The status.

    Raises:
        NotTold: there was none within ``ATTEMPT_S``.
    """
    import aiohttp  # only where there is a webhook: importing it takes 0.2 s

    timeout = aiohttp.ClientTimeout(total=ATTEMPT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False, proxy=_proxy(url)) as reply,
        ):
            return reply.status
    except TimeoutError:
        raise NotTold(f"it did not answer within {ATTEMPT_S:g} s", may_pass=True) from None
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        raise NotTold(f"it cannot be reached, or broke off ({type(exc).__name__})", may_pass=True) from None


def _proxy(url: str) -> str | None:
    """The HTTP proxy that the environment names for a URL."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")

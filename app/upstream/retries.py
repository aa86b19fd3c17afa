"""A lane that tries again where that is cheap and likely to help, and turns error replies into errors.

Wraps any lane. The plan is pure (``app/domain/retry.py``); here are the clock, the sleep and the reading of error
bodies. Nothing is ever repeated once a reply below 400 has come: from then on its bytes belong to the caller. A lane
sends once, so this is the only place that repeats: a call is sent at most ``1 + retries`` times.
"""

from __future__ import annotations

import asyncio
import random as random_module
import time
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from app.domain.retry import Failure, RetryPolicy, wait_before_retry
from app.domain.upstream import Upstream, UpstreamReply, UpstreamRequest
from app.errors import BadUpstreamReply, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from app.schemas.anthropic_error import word
from app.upstream.errors import MAX_ERROR_BODY_BYTES, should_retry, status_error

#: An error reply's body has this long to arrive; the status is known by then and decides alone after it.
_ERROR_BODY_S = 5.0


class RetryingUpstream:
    """An ``Upstream`` that answers with replies below 300 only.

    A reply that took more than one attempt says so in ``attempts``, and so does an error.

    Args:
        lane: makes the single attempts.
        retries: attempts after the first; 0 never repeats.
        random: numbers from 0 up to 1, for the jitter.
        sleep: waits so many seconds; cancelling it ends the call at once.
        clock: Unix seconds, for a ``retry-after`` that is a date.
    """

    def __init__(
        self,
        lane: Upstream,
        retries: int = 1,
        *,
        random: Callable[[], float] = random_module.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lane = lane
        self._policy = RetryPolicy(retries=retries)
        self._random = random
        self._sleep = sleep
        self._clock = clock

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Sends a request, again where the policy says so.

        Raises:
            UpstreamStatus: the last attempt was answered with an error status.
            BadUpstreamReply: the last attempt was answered with something that is no answer, such as a redirect.
            UpstreamUnreachable: no connection, or it broke before the reply's headers.
            UpstreamTimeout: no connection or no reply headers in time.
            Overloaded: no free connection in time.
        """
        attempts = 1
        while True:
            try:
                reply = await self._lane.send(request)
                if 200 <= reply.status < 300:
                    if attempts > 1:
                        reply.attempts = attempts
                    return reply
                error, failure = await self._refused(reply)
            except UpstreamUnreachable as unreached:
                error, failure = unreached, Failure(at_once=unreached.kept)
                if unreached.kept:
                    request = replace(request, fresh=True)
            except UpstreamTimeout as late:
                error, failure = late, Failure() if late.phase == "connect" else None
            error.attempts = attempts
            wait_s = (
                None
                if failure is None
                else wait_before_retry(self._policy, failure, attempts=attempts, jitter=self._random())
            )
            if wait_s is None:
                raise error
            request.watch.refused()
            await self._sleep(wait_s)
            attempts += 1

    async def close(self) -> None:
        """Closes the lane."""
        await self._lane.close()

    async def _refused(self, reply: UpstreamReply) -> tuple[UpstreamError, Failure | None]:
        """What a reply that is no success means; the reply is read as far as worthwhile, and closed."""
        if reply.status < 400:
            await reply.close()
            no_answer = BadUpstreamReply(
                f"Anthropic answered with status {reply.status}, which is no answer to a call and is never "
                "followed; check ANTHROPIC_BASE_URL."
            )
            no_answer.request_id = word(reply.headers.get("request-id"))
            return no_answer, None
        error = status_error(reply.status, reply.headers, await _error_body(reply), now_at=self._clock())
        failure = Failure(
            status=error.status,
            retry_after_s=error.retry_after_s,
            should_retry=should_retry(reply.headers),
            error_code=error.error_code,
        )
        return error, failure


async def _error_body(reply: UpstreamReply) -> bytes:
    """The body of an error reply, cut at a bound; what there is of it when the connection breaks or falls silent."""
    body = bytearray()
    try:
        async with asyncio.timeout(_ERROR_BODY_S):
            async for data in reply.chunks():
                body += data
                if len(body) > MAX_ERROR_BODY_BYTES:
                    break
    except (UpstreamError, TimeoutError):
        pass
    finally:
        await reply.close()
    return bytes(body)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from app.domain.upstream import UpstreamRequest
from app.errors import BadUpstreamReply, Overloaded, UpstreamError, UpstreamStatus, UpstreamTimeout, UpstreamUnreachable
from app.upstream.errors import MAX_ERROR_BODY_BYTES
from app.upstream.retries import RetryingUpstream

CALL = UpstreamRequest(path="/v1/messages", body=b"{}")


class Reply:
    """A reply as a lane gives it; a piece that is an error is raised where it stands."""

    def __init__(self, status: int, *pieces: bytes | Exception, **headers: str) -> None:
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.attempts = 1
        self.pieces = pieces
        self.read_bytes = 0
        self.closed = False

    async def read(self) -> bytes:
        return b"".join([data async for data in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            self.read_bytes += len(piece)
            yield piece

    async def close(self) -> None:
        self.closed = True


class Lane:
    """Gives the outcomes in their order; an error is raised."""

    def __init__(self, *outcomes: Reply | Exception) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[UpstreamRequest] = []
        self.closed = False

    async def send(self, request: UpstreamRequest) -> Reply:
        self.requests.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def close(self) -> None:
        self.closed = True


class Sleeper:
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def retrying(*outcomes: Reply | Exception, retries: int = 1) -> tuple[RetryingUpstream, Lane, Sleeper]:
    lane, sleep = Lane(*outcomes), Sleeper()
    return RetryingUpstream(lane, retries, random=lambda: 0.0, sleep=sleep, clock=lambda: 1000.0), lane, sleep


async def test_a_good_reply_is_the_lanes_own_untouched():
    good = Reply(200, b"body")
    upstream, lane, sleep = retrying(good)
    assert await upstream.send(CALL) is good
    assert (good.attempts, good.read_bytes, good.closed) == (1, 0, False)
    assert lane.requests == [CALL]
    assert sleep.slept == []


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamUnreachable("refused"),
        UpstreamUnreachable("reset", sent=True),
        UpstreamTimeout("late", phase="connect"),
        Reply(408),
        Reply(500),
        Reply(502),
        Reply(503),
        Reply(504),
        Reply(529),
    ],
    ids=lambda failure: str(getattr(failure, "status", failure)),
)
async def test_what_may_pass_is_tried_again_after_a_backoff(failure):
    good = Reply(200)
    upstream, lane, sleep = retrying(failure, good)
    assert await upstream.send(CALL) is good
    assert good.attempts == 2
    assert lane.requests == [CALL, CALL]
    assert sleep.slept == [0.25]


async def test_a_dead_kept_connection_is_replaced_at_once_by_a_fresh_one():
    good = Reply(200)
    upstream, lane, sleep = retrying(UpstreamUnreachable("dead", sent=True, kept=True), good)
    assert await upstream.send(CALL) is good
    assert good.attempts == 2
    assert [request.fresh for request in lane.requests] == [False, True]
    assert sleep.slept == [0.0]


async def test_a_dead_kept_connection_is_an_error_where_no_retry_is_allowed():
    upstream, lane, _ = retrying(UpstreamUnreachable("dead", sent=True, kept=True), retries=0)
    with pytest.raises(UpstreamUnreachable):
        await upstream.send(CALL)
    assert len(lane.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 429, 501])
async def test_other_error_statuses_are_raised_at_once(status):
    upstream, lane, _ = retrying(Reply(status, b'{"error":{"type":"t","message":"why"}}'))
    with pytest.raises(UpstreamStatus, match="why") as raised:
        await upstream.send(CALL)
    assert (raised.value.status, raised.value.attempts) == (status, 1)
    assert len(lane.requests) == 1


async def test_the_last_error_is_the_one_that_is_raised():
    upstream, _, _ = retrying(UpstreamUnreachable("first"), Reply(529, b'{"error":{"message":"second"}}'))
    with pytest.raises(UpstreamStatus, match="second") as raised:
        await upstream.send(CALL)
    assert raised.value.attempts == 2


async def test_no_retry_where_none_is_allowed():
    upstream, lane, _ = retrying(UpstreamUnreachable("refused"), retries=0)
    with pytest.raises(UpstreamUnreachable):
        await upstream.send(CALL)
    assert len(lane.requests) == 1


async def test_as_many_retries_as_are_allowed():
    upstream, _, sleep = retrying(*(Reply(500) for _ in range(3)), Reply(200), retries=3)
    reply = await upstream.send(CALL)
    assert reply.attempts == 4
    assert sleep.slept == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("headers", "slept"),
    [
        ({"retry_after": "2"}, 2.0),
        ({"retry_after_ms": "300"}, 0.3),
        ({"retry_after": "Thu, 01 Jan 1970 00:16:43 GMT"}, 3.0),
    ],
)
async def test_a_rate_limit_is_tried_again_after_the_time_it_names(headers, slept):
    upstream, _, sleep = retrying(Reply(429, **headers), Reply(200))
    await upstream.send(CALL)
    assert sleep.slept == [slept]


async def test_a_long_wait_is_left_to_the_client():
    upstream, lane, _ = retrying(Reply(429, retry_after="6", x_should_retry="true"))
    with pytest.raises(UpstreamStatus) as raised:
        await upstream.send(CALL)
    assert raised.value.retry_after_s == 6.0
    assert raised.value.headers == {"retry-after": "6", "x-should-retry": "true"}
    assert len(lane.requests) == 1


async def test_x_should_retry_false_is_obeyed():
    upstream, lane, _ = retrying(Reply(529, x_should_retry="false"))
    with pytest.raises(UpstreamStatus):
        await upstream.send(CALL)
    assert len(lane.requests) == 1


@pytest.mark.parametrize(
    "error", [Overloaded("full"), UpstreamTimeout("silent", phase="first_byte"), BadUpstreamReply("nonsense")]
)
async def test_what_a_retry_would_not_cure_is_raised_as_it_is(error):
    upstream, lane, _ = retrying(error)
    with pytest.raises(type(error)) as raised:
        await upstream.send(CALL)
    assert raised.value is error
    assert len(lane.requests) == 1


@pytest.mark.parametrize("status", [204 + 100, 302, 307])
async def test_a_redirect_is_an_error_that_names_the_setting(status):
    redirect = Reply(status, request_id="req_3")
    upstream, _, _ = retrying(redirect)
    with pytest.raises(BadUpstreamReply, match="ANTHROPIC_BASE_URL") as raised:
        await upstream.send(CALL)
    assert raised.value.request_id == "req_3"
    assert redirect.closed


async def test_every_failed_reply_is_closed():
    failed = [Reply(500, b"x"), Reply(500, b"y")]
    upstream, _, _ = retrying(*failed)
    with pytest.raises(UpstreamStatus):
        await upstream.send(CALL)
    assert [reply.closed for reply in failed] == [True, True]


async def test_a_huge_error_body_is_not_read_to_its_end():
    huge = Reply(400, *[b"x" * 10_000] * 1000)
    upstream, _, _ = retrying(huge)
    with pytest.raises(UpstreamStatus):
        await upstream.send(CALL)
    assert huge.read_bytes <= MAX_ERROR_BODY_BYTES + 10_000
    assert huge.closed


@pytest.mark.parametrize("end", [UpstreamUnreachable("reset"), UpstreamTimeout("silent", phase="idle")])
async def test_an_error_body_that_breaks_off_is_judged_by_its_status(end):
    broken = Reply(404, b'{"error":{"mess', end)
    upstream, _, _ = retrying(broken)
    with pytest.raises(UpstreamStatus) as raised:
        await upstream.send(CALL)
    assert raised.value.status == 404
    assert broken.closed


async def test_cancelling_a_sleeping_retry_ends_the_call_at_once():
    lane = Lane(Reply(529), Reply(200))
    sleeping = asyncio.Event()

    async def sleep(seconds: float) -> None:
        sleeping.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(RetryingUpstream(lane, sleep=sleep).send(CALL))
    await sleeping.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(lane.requests) == 1


async def test_closing_closes_the_lane():
    upstream, lane, _ = retrying()
    await upstream.close()
    assert lane.closed


async def test_the_jitter_comes_from_outside():
    sleep = Sleeper()
    upstream = RetryingUpstream(Lane(UpstreamError("never"), Reply(200)), random=lambda: 1.0, sleep=sleep)
    with pytest.raises(UpstreamError):
        await upstream.send(CALL)
    upstream = RetryingUpstream(Lane(Reply(500), Reply(200)), random=lambda: 1.0, sleep=sleep)
    await upstream.send(CALL)
    assert sleep.slept == [0.5]


class Watch:
    """Notes what is told of a call."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def sending(self) -> None:
        self.told.append("sending")

    def refused(self) -> None:
        self.told.append("refused")


async def test_whoever_watches_a_call_is_told_of_an_attempt_that_failed_before_the_wait_for_the_next():
    watch = Watch()
    lane = Lane(Reply(529), Reply(200))

    async def sleep(_: float) -> None:
        watch.told.append("asleep")

    await RetryingUpstream(lane, 1, random=lambda: 0.0, sleep=sleep).send(replace(CALL, watch=watch))
    assert watch.told == ["refused", "asleep"]


async def test_whoever_watches_a_call_judges_its_last_error_himself():
    watch = Watch()
    upstream, _, _ = retrying(Reply(400))
    with pytest.raises(UpstreamStatus):
        await upstream.send(replace(CALL, watch=watch))
    assert watch.told == []

"""The webhook is told, again and again; nothing is told out of order, and nothing for ever."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from app.domain.alert_notices import signature
from app.gateway.alert_delivery import GIVE_UP_AFTER_S, WAITS_S, Courier, NotTold, Webhook
from app.gateway.alert_settings import WebhookSettings
from tests.support.alerts import NOON, FakeReceiver, event

AWAY = NotTold("it cannot be reached", may_pass=True)
REFUSED = NotTold("it answered with status 400", may_pass=False)


class Posted:
    """Answers every post with a status, and remembers them."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.posts: list[tuple[str, Mapping[str, str], bytes]] = []

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.posts.append((url, headers, body))
        return self.status


def webhook(posted: Posted, *, format: str = "json", key: bytes | None = None) -> Webhook:  # noqa: A002
    settings = WebhookSettings(url="https://hooks.example.com/secret", format=format, key=key)  # type: ignore[arg-type]
    return Webhook(settings, version="1.2.3", host="pod-1", post=posted, now=lambda: NOON + 7.9)


async def test_an_event_is_posted_with_its_id_and_the_time_of_the_attempt() -> None:
    posted = Posted()
    await webhook(posted)(event(id="alert_7"))
    [(url, headers, body)] = posted.posts
    assert url == "https://hooks.example.com/secret"
    assert headers["webhook-id"] == "alert_7"
    assert headers["webhook-timestamp"] == str(int(NOON) + 7)
    assert "webhook-signature" not in headers
    assert json.loads(body)["alert"] == "error_rate"


async def test_a_secret_signs_what_is_posted() -> None:
    posted = Posted()
    await webhook(posted, key=b"horse")(event(id="alert_7"))
    [(_, headers, body)] = posted.posts
    expected = signature(b"horse", event_id="alert_7", timestamp=int(NOON) + 7, body=body)
    assert headers["webhook-signature"] == expected


async def test_slack_is_told_in_its_own_format() -> None:
    posted = Posted()
    await webhook(posted, format="slack")(event())
    assert "attachments" in json.loads(posted.posts[0][2])


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_every_success_is_one(status: int) -> None:
    await webhook(Posted(status))(event())


@pytest.mark.parametrize(
    ("status", "may_pass"),
    [
        *((status, True) for status in (301, 401, 403, 404, 405, 408, 425, 429, 500, 501, 503)),
        *((status, False) for status in (400, 410, 413, 422)),
    ],
)
async def test_another_status_may_pass_or_not(status: int, may_pass: bool) -> None:
    with pytest.raises(NotTold) as refused:
        await webhook(Posted(status))(event())
    assert refused.value.may_pass == may_pass
    assert str(status) in refused.value.why


class Day:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.at = NOON
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)


@asynccontextmanager
async def running(
    receiver: FakeReceiver, day: Day | None = None, *, on_done: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Courier]:
    day = day or Day()
    courier = Courier(receiver, on_done=on_done, now=lambda: day.at, sleep=day.sleep)
    task = asyncio.create_task(courier.run())
    try:
        yield courier
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def done(ids: list[str], count: int) -> None:
    async with asyncio.timeout(10):
        while len(ids) < count:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


async def test_events_are_told_in_their_order_and_each_once() -> None:
    receiver, finished = FakeReceiver(), list[str]()
    async with running(receiver, on_done=finished.append) as courier:
        courier.take([event(id="a"), event(id="b")])
        courier.take([event(id="a"), event(id="b"), event(id="c")])
        await done(finished, 3)
    assert receiver.attempts == finished == ["a", "b", "c"]


async def test_what_comes_later_is_told_later() -> None:
    receiver = FakeReceiver()
    async with running(receiver) as courier:
        courier.take([])
        courier.take([event(id="a")])
        await receiver.has_told(1)
        courier.take([event(id="b")])
        await receiver.has_told(2)


async def test_a_receiver_that_is_away_is_tried_again_more_and_more_rarely() -> None:
    receiver, day = FakeReceiver(*[AWAY] * 7), Day()
    async with running(receiver, day) as courier:
        courier.take([event(id="a"), event(id="b")])
        await receiver.has_told(2)
    assert day.slept == [*WAITS_S, WAITS_S[-1], WAITS_S[-1]]
    assert receiver.attempts == [*["a"] * 8, "b"]


async def test_a_refusal_is_final_and_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    receiver, day, finished = FakeReceiver(REFUSED), Day(), list[str]()
    async with running(receiver, day, on_done=finished.append) as courier:
        courier.take([event(id="a"), event(id="b")])
        await done(finished, 2)
    assert (receiver.attempts, day.slept) == (["a", "b"], [])
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", "The webhook was not told of an alert: it answered with status 400.")
    ]


async def test_after_a_day_it_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    receiver, day, finished = FakeReceiver(*[AWAY] * 1000), Day(), list[str]()
    async with running(receiver, day, on_done=finished.append) as courier:
        courier.take([event(id="a")])
        await done(finished, 1)
    assert GIVE_UP_AFTER_S < day.at - NOON < GIVE_UP_AFTER_S + 2 * WAITS_S[-1]
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


async def test_who_lost_the_lead_tells_no_more() -> None:
    receiver, day, finished = FakeReceiver(*[AWAY] * 3), Day(), list[str]()
    async with running(receiver, day, on_done=finished.append) as courier:
        courier.take([event(id="a")])
        async with asyncio.timeout(10):
            while not receiver.attempts:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
        courier.drop_all()
        courier.take([event(id="b")])
        await done(finished, 1)
    assert finished == ["b"]

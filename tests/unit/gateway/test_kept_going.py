"""What fails by a bug begins anew; the log hears of it, but not every time."""

from __future__ import annotations

import asyncio

import pytest

from app.gateway.kept_going import RESTART_AFTER_S, SAID_EVERY_S, kept_going


class Failing:
    """Fails so many times, a second apart."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.at = 0.0

    async def run(self) -> None:
        if self.left:
            self.left -= 1
            raise TypeError("a bug")

    async def sleep(self, seconds: float) -> None:
        assert seconds == RESTART_AFTER_S
        self.at += seconds

    async def keep_going(self) -> None:
        await kept_going(self.run, what="The monitor", sleep=self.sleep, monotonic=lambda: self.at)


async def test_it_begins_anew_until_it_ends_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    failing = Failing(3)
    await failing.keep_going()
    assert failing.at == 3 * RESTART_AFTER_S
    assert [record.message for record in caplog.records] == ["The monitor has failed, and begins anew."]


async def test_what_goes_on_failing_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    await Failing(int(3 * SAID_EVERY_S / RESTART_AFTER_S)).keep_going()
    assert len(caplog.records) == 3


async def test_it_can_be_cancelled() -> None:
    running = asyncio.create_task(kept_going(asyncio.Event().wait, what="It"))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

"""The process of the monitor goes on after a bug, and ends when it is told to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

import pytest

from app.config import Config
from app.gateway import kept_going
from app.observability.log import lines
from app.state import connect
from workers import monitor


class Broken:
    """A monitor that fails at first, and then runs until it is cancelled."""

    def __init__(self) -> None:
        self.runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise TypeError("damaged figures")
        assert lines()._thread is not None, "whoever reads the log holds nobody up"
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()


async def test_a_bug_does_not_end_it_but_sigterm_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken()
    monkeypatch.setattr(monitor, "create_monitor", lambda *_: broken)
    monkeypatch.setattr(kept_going, "RESTART_AFTER_S", 0.0)
    state = connect("memory://")
    async with asyncio.timeout(20):
        await monitor.watch(state, Config())
    await state.close()
    assert broken.runs == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert lines()._thread is None

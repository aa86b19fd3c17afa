"""The process of ``claude-wrapper monitor``: evaluates the alerts beside the gateways, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal

from app.config import Config
from app.gateway.kept_going import kept_going
from app.gateway.monitor import create_monitor
from app.observability.log import lines
from app.state.connection import StateConnection

_ENDED_BY = (signal.SIGINT, signal.SIGTERM)


async def watch(state: StateConnection, config: Config) -> None:
    """Leads, or waits for the lead, until SIGINT or SIGTERM; the lead is given back then.

    The log is written by a thread meanwhile: nobody may read it.

    Args:
        state: the store that the gateways use.
        config: the settings of the alerts.

    Raises:
        SettingError: a setting of alerts makes no sense.
    """
    monitor = asyncio.ensure_future(kept_going(create_monitor(config, state).run, what="The monitor"))
    loop = asyncio.get_running_loop()
    lines().start()
    for number in _ENDED_BY:
        loop.add_signal_handler(number, monitor.cancel)
    try:
        await monitor
    except asyncio.CancelledError:
        pass
    finally:
        for number in _ENDED_BY:
            loop.remove_signal_handler(number)
        lines().close()

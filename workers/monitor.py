"""The process of ``claude-wrapper monitor``: evaluates the alerts beside the gateways, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal

from app.config import Config
from app.gateway.monitor import create_monitor
from app.state.connection import StateConnection

_ENDED_BY = (signal.SIGINT, signal.SIGTERM)


async def watch(state: StateConnection, config: Config) -> None:
    """Leads, or waits for the lead, until SIGINT or SIGTERM; the lead is given back then.

    Args:
        state: the store that the gateways use.
        config: the settings of the alerts.

    Raises:
        SettingError: a setting of alerts makes no sense.
    """
    monitor = asyncio.ensure_future(create_monitor(config, state).run())
    loop = asyncio.get_running_loop()
    for number in _ENDED_BY:
        loop.add_signal_handler(number, monitor.cancel)
    try:
        await monitor
    except asyncio.CancelledError:
        pass
    finally:
        for number in _ENDED_BY:
            loop.remove_signal_handler(number)

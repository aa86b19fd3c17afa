"""Gateways of one deployment, each on a port that it keeps over restarts.

with running_fleet(server, simulator, places=4, running=3) as fleet:
    fleet.restart(0)
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import psutil

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.haproxy import free_ports
from tests.support.redis import RedisServer
from tests.support.simulator import Simulator

API_KEY = "the-key-of-the-fleets-clients"

#: A gateway that was told to stop has ended its streams and exited by then.
LEAVES_WITHIN_S = 60.0


class Fleet:
    """Places for gateways, taken or empty.

    Args:
        ports: one for each place.
        settings: of every gateway, as environment variables.
    """

    def __init__(self, ports: list[int], settings: Mapping[str, str]) -> None:
        self.ports = ports
        self._settings = settings
        self._taken: dict[int, tuple[RunningGateway, ExitStack]] = {}

    def gateway(self, place: int) -> RunningGateway:
        """The gateway that runs at a place."""
        return self._taken[place][0]

    def start(self, place: int) -> None:
        """Starts a gateway; returns when it is ready."""
        stack = ExitStack()
        running = running_gateway("--no-interactive", "--port", str(self.ports[place]), env=self._settings)
        self._taken[place] = stack.enter_context(running), stack

    def stop(self, place: int) -> str:
        """SIGTERM; returns when the gateway has left in good order.

        Returns:
            What it has printed.
        """
        gateway, stack = self._taken.pop(place)
        with stack:
            gateway.process.send(signal.SIGTERM)
            assert gateway.process.wait(within_s=LEAVES_WITHIN_S) == 0, gateway.logs
            return gateway.logs

    def restart(self, place: int) -> str:
        """Another process at the same place, as soon as the first one has left.

        Returns:
            What the first one has printed.
        """
        logs = self.stop(place)
        self.start(place)
        return logs

    def kill(self, place: int) -> None:
        """``kill -9`` of every process of a gateway; returns when they are gone."""
        gateway, stack = self._taken.pop(place)
        with stack:
            workers = gateway.process.children()
            gateway.process.send(signal.SIGKILL)
            for worker in workers:
                worker.kill()
            gateway.process.wait(within_s=LEAVES_WITHIN_S)
            psutil.wait_procs(workers, timeout=LEAVES_WITHIN_S)

    def close(self) -> None:
        """Ends all of them, at once."""
        for place in list(self._taken):
            self.kill(place)


@contextmanager
def running_fleet(
    server: RedisServer,
    simulator: Simulator,
    *,
    places: int,
    running: int,
    env: Mapping[str, str] | None = None,
) -> Iterator[Fleet]:
    """Runs gateways at the first places until the block ends.

    Args:
        server: the Redis that they share.
        simulator: their upstream.
        places: how many there can be.
        running: how many there are at the start.
        env: further settings.
    """
    settings = {
        "CLAUDE_WRAPPER_REDIS_URL": server.url,
        "CLAUDE_WRAPPER_API_KEY": API_KEY,
        "CLAUDE_WRAPPER_TRUSTED_PROXIES": "127.0.0.1",
        # The tests share the machine: none of them is about what happens when Redis is late.
        "CLAUDE_WRAPPER_REDIS_TIMEOUT_S": "5",
        "ANTHROPIC_BASE_URL": simulator.base_url,
        "ANTHROPIC_API_KEY": "sk-ant-test-0123456789abcdef",
        **(env or {}),
    }
    fleet = Fleet(free_ports(places), settings)
    try:
        for place in range(running):
            fleet.start(place)
        yield fleet
    finally:
        fleet.close()

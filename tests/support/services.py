"""Services for tests of the doors: real settings, models and figures; no network, no Redis server."""

from __future__ import annotations

from importlib import resources
from typing import Any

from app.config import Config
from app.domain.models import ModelTable
from app.errors import StateUnavailable
from app.gateway.model_table import load_served_models
from app.gateway.services import Services
from app.main import create_services
from app.observability.metrics import WorkerMetrics
from app.observability.seats import only_seat
from app.state import connect
from app.state.connection import StoreStatus
from app.upstream.credentials import CredentialBook

#: The wall clock of these tests.
NOW = 1_790_000_000.0


class NoUpstream:
    """An upstream that nobody may call."""

    async def send(self, request: Any) -> Any:
        raise AssertionError("the upstream was called")

    async def close(self) -> None:
        return None


class StateAway:
    """A state store that does not answer; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def available(self) -> bool:
        return False

    @property
    def status(self) -> StoreStatus:
        return StoreStatus(
            kind="redis", available=False, connected=False, breaker="open", away_s=60.0, last_failure="timed out"
        )

    async def call(self, *_words: Any, large: bool = False) -> Any:
        self.asked += 1
        raise StateUnavailable("The state store did not answer in time.")

    run_script = pipeline = call

    async def close(self) -> None:
        return None


def model_table() -> ModelTable:
    """The table that ships."""
    return ModelTable.load(resources.files("app.domain").joinpath("models.toml").read_text())


def make_services(*, config: Config | None = None, state: Any = None, upstream: Any = None) -> Services:
    """Services of a started worker."""
    config = config or Config()
    services = create_services(
        config,
        models=load_served_models(config),
        upstream=upstream or NoUpstream(),
        state=state or connect("memory://"),
        credentials=CredentialBook((), now=lambda: NOW),
        metrics=WorkerMetrics(),
        seat=only_seat(),
        now=lambda: NOW,
    )
    services.process.started = True
    return services

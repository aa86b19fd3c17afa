"""Services: the bundle of rooms that a flow is given. Built and wired in ``app.main``, one per worker."""

from __future__ import annotations

from collections.abc import Callable

from app.config import Config
from app.domain.models import ModelTable
from app.domain.upstream import Upstream
from app.observability.process import ProcessFigures
from app.state.connection import StateConnection
from app.translate.chat_to_messages import TranslationSettings


class Services:
    """What the corridor and the doors need.

    Args:
        config: the settings.
        models: the model table.
        translation: the settings of the translators; replaced once, when the salt of the pseudonyms is known.
        upstream: the way to Anthropic, with retries; raises for every error status.
        state: the connection to Redis.
        process: figures of this worker.
        now: the wall clock, in Unix seconds.
    """

    __slots__ = ("config", "models", "now", "process", "state", "translation", "upstream")

    def __init__(
        self,
        *,
        config: Config,
        models: ModelTable,
        translation: TranslationSettings,
        upstream: Upstream,
        state: StateConnection,
        process: ProcessFigures,
        now: Callable[[], float],
    ) -> None:
        self.config = config
        self.models = models
        self.translation = translation
        self.upstream = upstream
        self.state = state
        self.process = process
        self.now = now

"""Services: the bundle of rooms that a flow is given. Built and wired in ``app.main``, one per worker."""

from __future__ import annotations

from collections.abc import Callable

from app.config import Config
from app.domain.key_file import KeyFile
from app.domain.learned_prompts import LearnedPrompts
from app.domain.models import ModelTable
from app.domain.output_meter import LearnedRatios
from app.domain.pace import LearnedPace
from app.domain.upstream import Upstream
from app.gateway.admission import Admission
from app.gateway.gate import Gate
from app.gateway.ledger import Ledger
from app.observability.process import ProcessFigures
from app.state.connection import StateConnection
from app.state.key_memory import KeyMemory
from app.translate.chat_to_messages import TranslationSettings


class Services:
    """What the corridor and the doors need.

    Args:
        config: the settings.
        models: the model table.
        translation: the settings of the translators; replaced once, when the salt of the pseudonyms is known.
        upstream: the way to Anthropic, with retries; raises for every error status.
        state: the connection to Redis.
        gate: tells callers apart.
        admission: lets requests in.
        ledger: leases to renew, settlements to make.
        memory: stored keys that were seen lately.
        process: figures of this worker.
        now: the wall clock, in Unix seconds.
        monotonic: seconds.

    Attributes:
        ratios: how many tokens there are in what a stream shows, as learned.
        pace: how fast plain answers come, as learned.
        prompts: what prompts turned out to be, as learned.
    """

    __slots__ = (
        "admission",
        "config",
        "gate",
        "ledger",
        "memory",
        "models",
        "monotonic",
        "now",
        "pace",
        "process",
        "prompts",
        "ratios",
        "state",
        "translation",
        "upstream",
    )

    def __init__(
        self,
        *,
        config: Config,
        models: ModelTable,
        translation: TranslationSettings,
        upstream: Upstream,
        state: StateConnection,
        gate: Gate,
        admission: Admission,
        ledger: Ledger,
        memory: KeyMemory,
        process: ProcessFigures,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.config = config
        self.models = models
        self.translation = translation
        self.upstream = upstream
        self.state = state
        self.gate = gate
        self.admission = admission
        self.ledger = ledger
        self.memory = memory
        self.process = process
        self.now = now
        self.monotonic = monotonic
        self.ratios = LearnedRatios()
        self.pace = LearnedPace()
        self.prompts = LearnedPrompts()

    def take_up_keys(self, key_file: KeyFile) -> None:
        """The keys file was read, at the start or because it changed; a key that it lacks is good no more."""
        self.gate.key_file = key_file
        self.admission.tenants = key_file.tenants

"""Services: the bundle of rooms that a flow is given. Built and wired in ``app.main``, one per worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from app.config import Config
from app.domain.caching import CacheRule
from app.domain.key_file import KeyFile
from app.domain.learned_prompts import LearnedPrompts
from app.domain.models import ModelTable
from app.domain.output_meter import LearnedRatios
from app.domain.pace import LearnedPace
from app.domain.sessions import SessionRules
from app.domain.upstream import Upstream
from app.errors import GatewayError, InternalError
from app.gateway.admission import Admission
from app.gateway.cluster import ClusterBook
from app.gateway.flights import Flights
from app.gateway.gate import Gate
from app.gateway.lease_returns import GiveBack, LeaseReturns
from app.gateway.ledger import Ledger
from app.gateway.model_table import ServedModels
from app.gateway.scrape import Scrape
from app.observability.metrics import WorkerMetrics
from app.observability.process import ProcessFigures
from app.observability.profiling import Profiling
from app.observability.request_log import RequestLog
from app.observability.telemetry import Telemetry
from app.state.cache_room import CacheRoom
from app.state.connection import StateConnection
from app.state.key_memory import KeyMemory
from app.state.wakes import Wakes
from app.translate.chat_to_messages import TranslationSettings
from app.upstream.credentials import CredentialBook

log = logging.getLogger(__name__)


class Services:
    """What the corridor and the doors need.

    Args:
        config: the settings.
        models: the model table.
        translation: the settings of the translators; replaced once, when the salt of the pseudonyms is known.
        upstream: the way to Anthropic, with retries; raises for every error status.
        credentials: how the gateway's own Anthropic credentials are doing.
        state: the connection to Redis.
        gate: tells callers apart.
        admission: lets requests in.
        ledger: leases to renew, settlements to make.
        memory: stored keys that were seen lately.
        wakes: who of this worker waits for what another one does.
        cache_room: whether the store has room for cached answers.
        process: figures of this worker.
        metrics: what this worker counts.
        request_log: tells of every request.
        cluster: what all replicas share.
        scrape: makes the page ``/metrics``.
        profiling: watches this worker on demand.
        telemetry: exports traces and metrics; ``None`` while that is off.
        new_session_id: names a session that was given no id; nobody guesses it.
        now: the wall clock, in Unix seconds.
        monotonic: seconds.

    Attributes:
        ratios: how many tokens there are in what a stream shows, as learned.
        pace: how fast plain answers come, as learned.
        prompts: what prompts turned out to be, as learned.
        flights: answers in the making.
        cache_rule: of keys that set none.
        session_rules: the bounds of sessions.
    """

    __slots__ = (
        "_beside",
        "_returns",
        "_to_prune",
        "_to_report",
        "admission",
        "cache_room",
        "cache_rule",
        "cluster",
        "config",
        "credentials",
        "flights",
        "gate",
        "ledger",
        "memory",
        "metrics",
        "models",
        "monotonic",
        "new_session_id",
        "now",
        "pace",
        "process",
        "profiling",
        "prompts",
        "ratios",
        "request_log",
        "scrape",
        "session_rules",
        "state",
        "telemetry",
        "translation",
        "upstream",
        "wakes",
    )

    def __init__(
        self,
        *,
        config: Config,
        models: ModelTable,
        translation: TranslationSettings,
        upstream: Upstream,
        credentials: CredentialBook,
        state: StateConnection,
        gate: Gate,
        admission: Admission,
        ledger: Ledger,
        memory: KeyMemory,
        wakes: Wakes,
        cache_room: CacheRoom,
        process: ProcessFigures,
        metrics: WorkerMetrics,
        request_log: RequestLog,
        cluster: ClusterBook,
        scrape: Scrape,
        profiling: Profiling,
        telemetry: Telemetry | None = None,
        new_session_id: Callable[[], str],
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.config = config
        self.models = models
        self.translation = translation
        self.upstream = upstream
        self.credentials = credentials
        self.state = state
        self.gate = gate
        self.admission = admission
        self.ledger = ledger
        self.memory = memory
        self.wakes = wakes
        self.cache_room = cache_room
        self.process = process
        self.metrics = metrics
        self.request_log = request_log
        self.cluster = cluster
        self.scrape = scrape
        self.profiling = profiling
        self.telemetry = telemetry
        self.new_session_id = new_session_id
        self.now = now
        self.monotonic = monotonic
        self.ratios = LearnedRatios()
        self.pace = LearnedPace()
        self.prompts = LearnedPrompts()
        self.flights = Flights(state)
        self.cache_rule = CacheRule(mode=config.cache, ttl_s=config.cache_ttl, share_within=config.share_within)
        self.session_rules = SessionRules(
            ttl_s=config.session_ttl,
            max_sessions=config.max_sessions,
            max_messages=config.session_max_messages,
            max_bytes=config.session_max_bytes,
        )
        self._to_prune: set[str] = set()
        self._to_report: set[str] = set()
        self._beside: set[asyncio.Future[object]] = set()
        self._returns = LeaseReturns(state, monotonic=monotonic)

    def note_seated(self, tag: str) -> None:
        """Sessions of a tenant were changed here."""
        self._to_prune.add(tag)
        self._to_report.add(tag)

    def take_to_prune(self) -> set[str]:
        """Tags of the tenants whose sessions were changed here since their indexes were pruned; begins anew."""
        tags, self._to_prune = self._to_prune, set()
        return tags

    def take_to_report(self) -> set[str]:
        """Tags of the tenants whose sessions were changed here since that was reported; begins anew."""
        tags, self._to_report = self._to_report, set()
        return tags

    def beside(self, work: Awaitable[object]) -> None:
        """Has something done that no request waits for and that may fail: the store may be away."""
        task = asyncio.ensure_future(work)
        self._beside.add(task)
        task.add_done_callback(self._done_beside)

    def insist(self, give_back: GiveBack) -> None:
        """Has a lease given back beside the requests, again and again while the store is away; see ``LeaseReturns``."""
        self.beside(self._returns.give_back(give_back))

    def _done_beside(self, task: asyncio.Future[object]) -> None:
        self._beside.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and (isinstance(error, InternalError) or not isinstance(error, GatewayError)):
            log.error("A bug: what was done beside the requests has failed.", exc_info=error)

    async def close(self) -> None:
        """Waits for what is being done beside the requests; what failed is tried once more."""
        self._returns.close()
        if self._beside:
            await asyncio.wait(self._beside)

    def take_up_models(self, models: ServedModels) -> None:
        """The models file has changed; requests in flight go on with the models that they began with."""
        self.models = models.table
        self.translation = replace(self.translation, aliases=models.aliases)

    def take_up_keys(self, key_file: KeyFile) -> None:
        """The keys file was read, at the start or because it changed; a key that it lacks is good no more."""
        self.gate.key_file = key_file
        self.admission.tenants = key_file.tenants

"""May this request go on: the store's verdict as a permit or an error, and what holds while the store is away.

``admit`` is the step of the corridor between translation and Anthropic. Each error says which limit, of whom, its
number, and when it frees up. Without the store (DESIGN.md section 4): a stored key that this worker has seen lately
keeps working, an unknown one gets 503; limits are this worker's share of them, or 503 where the key's policy says so.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from app.config import Config
from app.domain.auth import ApiKey, Caller, Scope, allows_model
from app.domain.limits import BUDGET_PERIODS, NANO_PER_USD, NO_LIMITS, Demand, Hold, Limits, OutagePolicy, Refusal
from app.domain.local_limits import UNBOUNDED, LocalBook
from app.domain.local_limits import Refusal as LocalRefusal
from app.errors import (
    GatewayError,
    InvalidRequest,
    PermissionDenied,
    RateLimited,
    StateError,
    StateUnavailable,
    Unauthenticated,
)
from app.gateway.ledger import Ledger, Permit
from app.state import limits
from app.state.connection import Command, StateConnection
from app.state.error_replies import ran_nothing
from app.state.exhausted import NEVER_FREES_S, ExhaustedBudget
from app.state.key_memory import KeyMemory
from app.state.limit_words import limit_words
from app.state.limits import TENANT, Account, Verdict
from app.translate.rate_limit_headers import own_headers

log = logging.getLogger(__name__)

#: Expected output of a model of which nothing is known yet.
USUAL_OUTPUT_TOKENS = 1000

#: A store that answers and cannot be used is told of at most this often; of one that is away, its connection tells.
TOLD_EVERY_S = 60.0

#: Verdicts on a key after which it must not be remembered as good.
_NOT_GOOD = frozenset({"unknown_key", "revoked", "expired"})

#: When to try again what this worker's share does not cover while the store is away.
OUTAGE_RETRY_S = 5.0

#: A request that was decided without the store this lately means that the store hardly answers.
ALONE_S = 5.0

#: Accounts with a budget, and budgets that have refused, that are noted between two reports of a worker.
MOST_BUDGETED = 1000

#: Whose limits hold while the store is away, and which.
LocalScopes = tuple[tuple[tuple[str, str], Limits], ...]

_limit_words = lru_cache(maxsize=4096)(limit_words)


class AdmissionSettings(Struct, frozen=True, kw_only=True):
    """What holds where neither key nor tenant says otherwise.

    Args:
        key: limits of a key that sets none.
        tenant: limits of a tenant that sets none.
        outage: policy of a key that sets none.
        outage_workers: how many workers share a limit while the store is away; 0: as many as were last seen.
    """

    key: Limits = NO_LIMITS
    tenant: Limits = NO_LIMITS
    outage: OutagePolicy = "fail_open"
    outage_workers: int = 0

    @classmethod
    def of(cls, config: Config) -> AdmissionSettings:
        """From the settings of the same meaning."""
        return cls(
            key=_limits_of(config, "default"),
            tenant=_limits_of(config, "tenant"),
            outage=config.outage_policy,
            outage_workers=config.outage_workers,
        )


def _limits_of(config: Config, whose: str) -> Limits:
    def rate(name: str) -> int | None:
        return getattr(config, f"{whose}_{name}") or None

    def budget(name: str) -> int | None:
        usd: float = getattr(config, f"{whose}_budget_{name}")
        return max(1, round(usd * NANO_PER_USD)) if usd else None

    return Limits(
        requests_per_minute=rate("rpm"),
        input_tokens_per_minute=rate("input_tpm"),
        output_tokens_per_minute=rate("output_tpm"),
        concurrency=rate("concurrency"),
        budget_day_nano=budget("day"),
        budget_month_nano=budget("month"),
        budget_total_nano=budget("total"),
    )


class Admission:
    """Lets requests of one worker in.

    Args:
        state: the store.
        settings: defaults.
        ledger: keeps what is admitted.
        memory: stored keys that were seen lately.
        local: this worker's own limits, for when the store is away.
        now: wall clock, Unix seconds.
        monotonic: seconds.

    Attributes:
        tenants: limits that tenants set themselves (the keys file), by tag.
        workers_seen: how many workers share the store, as last known.
        alone_at: when a request last had to be decided without the store, monotonic seconds.
    """

    def __init__(
        self,
        state: StateConnection,
        settings: AdmissionSettings,
        *,
        ledger: Ledger,
        memory: KeyMemory,
        local: LocalBook,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._state = state
        self._settings = settings
        self._ledger = ledger
        self._memory = memory
        self._local = local
        self._now = now
        self._monotonic = monotonic
        self._is_alone = False
        self.tenants: Mapping[str, Limits] = {}
        self.workers_seen = 1
        self._budgeted: dict[tuple[str, str], Limits] = {}
        self._exhausted: dict[ExhaustedBudget, float] = {}
        self.alone_at = float("-inf")
        self._told_at = float("-inf")

    @property
    def is_alone_lately(self) -> bool:
        """Whether a request had to be decided without the store within the last ``ALONE_S``."""
        return self._monotonic() - self.alone_at < ALONE_S

    def limits_of(self, own: Limits) -> Limits:
        """The limits of a key, with the defaults for what it does not set."""
        return own.over(self._settings.key)

    def tenant_limits(self, tag: str) -> Limits:
        """The limits of a tenant, with the defaults for what it does not set."""
        return self.tenants.get(tag, NO_LIMITS).over(self._settings.tenant)

    async def admit(
        self,
        caller: Caller,
        demand: Demand,
        *,
        scope: Scope = "inference",
        permit_id: str = "",
        sid: str = "",
        alongside: Sequence[Command] = (),
        needs_state: bool = False,
    ) -> Permit:
        """Lets a request in: one round trip.

        Args:
            caller: who asks.
            demand: for what.
            scope: what the key must be allowed to do.
            permit_id: of the permit; made when empty.
            sid: of the request's session.
            alongside: what else is asked of the store in the same round trip.
            needs_state: the request makes no sense without the store, whatever the policy of its key.

        Raises:
            Unauthenticated: no such key, or it has expired or was revoked.
            PermissionDenied: the key may not do this, or not with this model.
            RateLimited: a limit is used up; nothing was taken.
            InvalidRequest: under a budget, the cost of the call cannot be bounded.
            StateUnavailable: the store is away, and it is needed for this.
        """
        if caller.verified:
            check_rights(caller.scopes, caller.models, demand, scope)
        account = Account(caller.tag, caller.key_id)
        permit_id = permit_id or self._ledger.new_id()
        asked_at = self._now()
        known = None if caller.verified else self._memory.recall(caller.tag, caller.key_id, caller.secret_hash)
        asked = self._state.available  # at its deadline, this very call may be what tells that the store is away
        try:
            verdict = await limits.admit(
                self._state,
                permit_id,
                caller,
                demand,
                scope=scope,
                known_version=known.version if known is not None else 0,
                defaults=_limit_words(self.limits_of(caller.limits)),
                tenant=_limit_words(self.tenant_limits(caller.tag)),
                usual_output=USUAL_OUTPUT_TOKENS,
                sid=sid,
                alongside=alongside,
            )
        except asyncio.CancelledError:
            self._ledger.give_back(permit_id, account, demand.model)
            raise
        except StateError as error:
            self.alone_at = self._monotonic()
            self._tell(error)
            asked = asked and not ran_nothing(error)
            try:
                if needs_state:
                    raise state_needed(error) from error
                return self._admit_alone(caller, demand, scope, permit_id, error, asked=asked)
            except GatewayError:
                if asked:
                    self._ledger.give_back(permit_id, account, demand.model)
                raise
        key = verdict.key or known
        if key is not None and verdict.key_fault is None:
            self._memory.remember(caller.tag, key, asked_at=asked_at)
        return self._judged(caller, key, demand, scope, permit_id, verdict)

    def _judged(
        self, caller: Caller, key: ApiKey | None, demand: Demand, scope: Scope, permit_id: str, verdict: Verdict
    ) -> Permit:
        if verdict.key_fault is not None:
            if key is not None and verdict.key_fault in _NOT_GOOD:
                self._memory.forget(caller.tag, caller.key_id)  # the push of it was lost
            raise _refused_key(verdict.key_fault, demand, scope)
        if self._is_alone and not self._ledger.behind:
            self._is_alone = False
            self._local.forget()  # the store knows of everything now
        for whose, left_nano in zip((caller.key_id, TENANT), verdict.budget_left, strict=True):
            if left_nano is not None:
                self._local.note_budget_left((caller.tag, whose), left_nano)
                self._note_budgets(caller, key, whose)
        if verdict.unbounded:
            raise unbounded(demand)
        if verdict.refusal is not None:
            own = self.limits_of(key.limits if key is not None else caller.limits)
            bounds = own if verdict.refusal.whose == "key" else self.tenant_limits(caller.tag)
            self._note_exhausted(caller.key_id, caller.tenant if key is None else key.tenant, verdict.refusal, bounds)
            raise limited(verdict.refusal, bounds, own_headers(verdict.requests, verdict.tokens))
        permit = Permit(
            id=permit_id,
            account=Account(caller.tag, caller.key_id),
            tenant=caller.tenant if key is None else key.tenant,
            model=demand.model,
            max_tokens=verdict.max_tokens,
            hold=verdict.hold,
            admitted=True,
            headers=own_headers(verdict.requests, verdict.tokens),
            replies=verdict.replies,
        )
        self._ledger.opened(permit)
        return permit

    def _note_budgets(self, caller: Caller, key: ApiKey | None, whose: str) -> None:
        if len(self._budgeted) < MOST_BUDGETED:
            own, tenant = (caller.limits, caller.tenant) if key is None else (key.limits, key.tenant)
            self._budgeted[tenant, whose] = self.tenant_limits(caller.tag) if whose == TENANT else self.limits_of(own)

    def take_budgeted(self) -> dict[tuple[str, str], Limits]:
        """Accounts with budgets that were used since the last time, and their limits.

        Each by the name of its tenant and the id of its key, or ``TENANT`` in place of it.
        """
        taken, self._budgeted = self._budgeted, {}
        return taken

    def _note_exhausted(self, key_id: str, tenant: str, refusal: Refusal, bounds: Limits) -> None:
        period, budget_nano = BUDGET_PERIODS.get(refusal.limit), getattr(bounds, refusal.limit, None)
        if period is None or not budget_nano or len(self._exhausted) >= MOST_BUDGETED:
            return
        budget = ExhaustedBudget(
            tenant=tenant,
            key_id=key_id if refusal.whose == "key" else TENANT,
            period=period,
            budget_nano=budget_nano,
        )
        wait_s = NEVER_FREES_S if refusal.retry_after_s is None else refusal.retry_after_s
        self._exhausted[budget] = self._now() + wait_s

    def take_exhausted(self) -> dict[ExhaustedBudget, float]:
        """Budgets that have refused a request since the last time, and the Unix seconds at which each starts anew."""
        taken, self._exhausted = self._exhausted, {}
        return taken

    # Without the store

    def _tell(self, error: StateError) -> None:
        if self._state.available and self.alone_at - self._told_at >= TOLD_EVERY_S:
            self._told_at = self.alone_at
            log.warning("%s Requests are decided without it.", error.message)

    def _admit_alone(
        self, caller: Caller, demand: Demand, scope: Scope, permit_id: str, error: StateError, *, asked: bool
    ) -> Permit:
        own, policy, tenant = caller.limits, caller.outage, caller.tenant
        if not caller.verified:
            key = self.remembered(caller)
            check_rights(key.scopes, key.models, demand, scope)
            own, policy, tenant = key.limits, key.outage, key.tenant
        if (policy or self._settings.outage) == "fail_closed":
            raise StateUnavailable(
                "The limits of this key cannot be checked now, and its policy is to refuse then; please try again.",
                retry_after_s=error.retry_after_s or 1,
            ) from error
        self._is_alone = True
        output = demand.max_tokens if demand.output_tokens is None else demand.output_tokens
        expected_output = min(USUAL_OUTPUT_TOKENS, output) if demand.output_tokens is None else output
        workers = max(1, self._settings.outage_workers or self.workers_seen)
        scopes = (
            ((caller.tag, caller.key_id), self.limits_of(own)),
            ((caller.tag, TENANT), self.tenant_limits(caller.tag)),
        )
        max_tokens = self._affordable_tokens(demand, scopes, workers)
        worst = demand.worst_input_nano
        held = self._local.admit(
            scopes,
            workers=workers,
            now_s=self._monotonic(),
            expected_input=demand.input_tokens,
            expected_output=expected_output,
            worst_nano=None if worst is None else worst + max_tokens * demand.output_nano_per_token,
        )
        if isinstance(held, LocalRefusal):
            if held.limit == UNBOUNDED:
                raise unbounded(demand)
            refusal = Refusal(
                whose=("key", "tenant")[held.scope],
                limit=held.limit,
                retry_after_s=held.retry_after_s or OUTAGE_RETRY_S,
            )
            raise limited(refusal, scopes[held.scope][1], {}, shared_by=workers)
        permit = Permit(
            id=permit_id,
            account=Account(caller.tag, caller.key_id),
            tenant=tenant,
            model=demand.model,
            max_tokens=max_tokens,
            hold=Hold(input_tokens=demand.input_tokens, output_tokens=expected_output, nano=held.worst_nano),
            admitted=False,
            asked=asked,
            held=held,
        )
        self._ledger.opened(permit)
        return permit

    def _affordable_tokens(self, demand: Demand, scopes: LocalScopes, workers: int) -> int:
        """The bound of output tokens that this worker's share of the budgets leaves, as ``admit.lua`` would grant."""
        affordable = self._local.affordable_nano(scopes, workers=workers)
        if affordable is None or demand.worst_input_nano is None or not demand.output_nano_per_token:
            return demand.max_tokens
        tokens = (affordable - demand.worst_input_nano) // demand.output_nano_per_token
        return min(demand.max_tokens, max(demand.least_tokens, tokens))

    def remembered(self, caller: Caller) -> ApiKey:
        """The record of a stored key while the store is away.

        Raises:
            StateUnavailable: this worker has not seen the key lately, so nobody can say whether it is good.
        """
        key = self._memory.recall(caller.tag, caller.key_id, caller.secret_hash)
        if key is None:
            raise StateUnavailable("This API key cannot be checked now; please try again.", retry_after_s=1)
        return key


def state_needed(error: StateError) -> StateUnavailable:
    """The error of a request that needs what only the store has: going on without it would forget a conversation."""
    return StateUnavailable(
        "What this gateway keeps for this request (its session, its thinking or its Idempotency-Key) cannot be had "
        "now; please try again.",
        retry_after_s=error.retry_after_s or 1,
    )


def verdict_of(error: GatewayError) -> str:
    """The reason why a request was not let in, as metrics know it: the limit that was used up, or a code."""
    return error.limit if isinstance(error, RateLimited) else error.code or "refused"


def check_rights(scopes: tuple[Scope, ...], models: tuple[str, ...], demand: Demand, scope: Scope) -> None:
    """Checks what a known key may do.

    Raises:
        PermissionDenied: it lacks the scope, or the model is not among its own.
    """
    if scope not in scopes:
        raise scope_missing(scope)
    if not allows_model(models, demand.model_names):
        raise _model_denied(demand)


def scope_missing(scope: Scope) -> PermissionDenied:
    """The error of a key that may not do this at all."""
    return PermissionDenied(f"This API key does not have the scope '{scope}', which this request needs.")


def _model_denied(demand: Demand) -> PermissionDenied:
    return PermissionDenied(
        f"This API key may not use the model {demand.model}. GET /v1/usage lists the models that it may use.",
        param="model",
        code="model_not_allowed",
    )


def key_error(fault: limits.KeyFault) -> Unauthenticated:
    """The error of a stored key that is not good."""
    match fault:
        case "revoked":
            return Unauthenticated(
                "This API key was revoked. Ask the operator of this gateway for a new one.", guessed=False
            )
        case "expired":
            return Unauthenticated(
                "This API key has expired. Ask the operator of this gateway for a new one.", guessed=False
            )
        case _:
            return Unauthenticated("Incorrect API key provided: this gateway does not know it.")


def _refused_key(fault: limits.KeyFault, demand: Demand, scope: Scope) -> Unauthenticated | PermissionDenied:
    match fault:
        case "scope":
            return scope_missing(scope)
        case "model":
            return _model_denied(demand)
        case _:
            return key_error(fault)


def unbounded(demand: Demand) -> InvalidRequest:
    """The error of a call that a budget cannot reserve anything for."""
    return InvalidRequest(
        f"This API key has a budget, and the cost of this call cannot be bounded: {demand.unbounded}.",
        code="cost_unbounded",
    )


_WORDS = {
    "requests_per_minute": "{limit:,} requests per minute",
    "input_tokens_per_minute": "{limit:,} input tokens per minute",
    "output_tokens_per_minute": "{limit:,} output tokens per minute",
    "concurrency": "{limit:,} requests at the same time",
    "budget_day_nano": "a budget of {usd} USD per day (UTC)",
    "budget_month_nano": "a budget of {usd} USD per calendar month (UTC)",
    "budget_total_nano": "a budget of {usd} USD in all",
}


def limited(
    refusal: Refusal, bounds: Limits, headers: Mapping[str, str], *, shared_by: int | None = None
) -> RateLimited:
    """The error of a used-up limit.

    Args:
        refusal: which one.
        bounds: the limits of whoever it was.
        headers: the numbers.
        shared_by: the store is away, and so many workers have a share of the limit each.
    """
    whose = "this API key" if refusal.whose == "key" else "this tenant"
    if refusal.limit == "budget_reserved":
        what = f"The rest of the budget of {whose} is held by requests that are running."
    else:
        limit: int = getattr(bounds, refusal.limit) or 0
        usd = f"{limit / NANO_PER_USD:.9f}".rstrip("0").rstrip(".")
        words = _WORDS[refusal.limit].format(limit=limit, usd=usd)
        subject = f"{whose[0].upper()}{whose[1:]}"
        if refusal.limit.startswith("budget"):
            what = f"{subject} has {words}, and what is left of it does not cover this request."
        else:
            what = f"{subject} is at its limit of {words}."
    if shared_by is not None:
        what += f" While the state store is away, each worker goes by its share of that, one in {shared_by}."
    if refusal.retry_after_s is not None:
        what += f" Please try again in {math.ceil(refusal.retry_after_s)}s."
    return RateLimited(
        what, limit=refusal.limit, spent=refusal.spent, retry_after_s=refusal.retry_after_s, headers=headers
    )

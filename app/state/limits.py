"""Keys, rates, concurrency and budgets of every replica in one place: one script before a call, one after it.

``admit`` reserves all or nothing, ``renew`` keeps the lease of a request that runs, ``settle`` turns what was reserved
into what was used. The scripts decide on the server's clock; this module puts domain values into words and back.
Contract: DESIGN.md section 3; what each step does is said in ``scripts/*.lua``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from msgspec import Struct
from msgspec.structs import replace

from app.domain.auth import ApiKey, Caller, Scope
from app.domain.limits import Demand, Gauge, Hold, Refusal, Use
from app.errors import StateError
from app.state import keys
from app.state.api_keys import decode_doc
from app.state.connection import Command, Reply, StateConnection
from app.state.scripts import ScriptCall, load_script

#: A lease lasts this long; it is renewed three times within.
LEASE_S: Final = 12.0
RENEW_EVERY_S: Final = 4.0

ADMIT: Final = load_script("admit", after="ledger", echoes=True)
RENEW: Final = load_script("renew", after="ledger", echoes=True)
SETTLE: Final = load_script("settle", after="ledger", echoes=True)

_LEASE_US: Final = int(LEASE_S * 1_000_000)
_TTLS: Final = (keys.STATE_TTL_S, keys.SPEND_TTL_S, keys.USAGE_TTL_S)

#: In place of a key id: the tenant itself.
TENANT: Final = keys.TENANT

#: Why a key was not let in; the words of ``admit.lua``.
KeyFault: TypeAlias = Literal["unknown_key", "revoked", "expired", "scope", "model"]

_KEY_FAULTS: Final = frozenset(word.encode() for word in get_args(KeyFault))


class Account(Struct, frozen=True):
    """Whose limits and spend are meant: a key, or another caller, within its tenant."""

    tag: str
    key_id: str


class Verdict(Struct, frozen=True, kw_only=True):
    """What became of a request.

    Args:
        admitted: it may go on, and holds ``hold``.
        key_fault: why the key was refused.
        refusal: which limit refused.
        unbounded: a budget refused what cannot be bounded.
        key: the record of a stored key, where it is newer than the one that the caller of ``admit`` has.
        requests: how the rate of requests stands, if there is one; of key or tenant, whoever has less left.
        tokens: the same for input and output tokens together.
        max_tokens: the bound of output tokens that is granted; less than asked for near the end of a budget.
        budget_left: nano-dollars left to the key, and to the tenant; ``None`` without a budget.
        hold: what is reserved.
        replies: to what else was asked in the same round trip.
    """

    admitted: bool = False
    key_fault: KeyFault | None = None
    refusal: Refusal | None = None
    unbounded: bool = False
    key: ApiKey | None = None
    requests: Gauge | None = None
    tokens: Gauge | None = None
    max_tokens: int = 0
    budget_left: tuple[int | None, int | None] = (None, None)
    hold: Hold = Hold()
    replies: tuple[Reply | StateError, ...] = ()


async def admit(
    state: StateConnection,
    request_id: str,
    caller: Caller,
    demand: Demand,
    *,
    scope: Scope,
    known_version: int,
    defaults: str,
    tenant: str,
    usual_output: int,
    sid: str = "",
    alongside: Sequence[Command] = (),
) -> Verdict:
    """Decides on a request and reserves what it may use, in one round trip.

    Args:
        state: the store.
        request_id: unique; a second call with the same id answers as the first and takes nothing more.
        caller: who asks; a stored key is checked here.
        demand: what is asked for.
        scope: what the key must be allowed to do.
        known_version: version of the stored key's record that is known already; 0 none.
        defaults: ``limit_words`` that count where the record of a stored key sets none; all limits of another caller.
        tenant: ``limit_words`` of the tenant.
        usual_output: expected output tokens of a model that has no running mean yet.
        sid: of the request's session, whose history counts as part of the prompt; empty without one.
        alongside: what else is asked in the same round trip.

    Raises:
        StateUnavailable: no answer in time. It may have been admitted all the same.
        StateError: the store refused the script, or its answer cannot be read.
    """
    worst = demand.worst_input_nano
    names = (*_keys(caller.tag, caller.key_id, request_id, demand.model), keys.api_key(caller.tag, caller.key_id))
    args = (
        request_id.encode(),
        caller.key_id,
        caller.secret_hash,
        known_version,
        scope,
        "\n".join(demand.model_names),
        defaults,
        tenant,
        demand.input_tokens,
        "-" if demand.output_tokens is None else demand.output_tokens,
        usual_output,
        _word(demand.model),
        "-" if worst is None else worst,
        demand.output_nano_per_token,
        demand.max_tokens,
        demand.least_tokens,
        *_TTLS,
        _LEASE_US,
        demand.input_nano,
        demand.answers,
        demand.history_nano_per_token,
        demand.history_expected_nano,
    )
    if sid:
        names = (*names, keys.seat(caller.tag, sid))
    if not alongside:
        return _verdict(await state.run_script(ADMIT, names, args))
    reply, *others = await state.pipeline([ScriptCall(ADMIT, names, args), *alongside])
    if isinstance(reply, StateError):
        raise reply
    return replace(_verdict(reply), replies=tuple(others))


async def renew(
    state: StateConnection, request_id: str, account: Account, model: str, *, hold: Hold, use: Use, max_tokens: int
) -> bool:
    """Prolongs the lease of a request that runs, and tops its rates up to what it has used so far.

    Args:
        state: the store.
        request_id: of the request.
        account: whose it is.
        model: the model that is called.
        hold: what was reserved; taken again if the lease was lost.
        use: what was used so far.
        max_tokens: the bound of its output.

    Returns:
        Whether the request is still to be renewed; ``False`` once it is settled.

    Raises:
        StateError: it was not prolonged; the next turn may put it back.
    """
    reply = await state.run_script(
        RENEW,
        _keys(account.tag, account.key_id, request_id, model),
        (
            request_id.encode(),
            account.key_id,
            _word(model),
            *(hold.input_tokens, hold.output_tokens, hold.nano),
            *(use.input_tokens + use.cache_write_tokens, use.output_tokens, use.nano),
            max_tokens,
            *_TTLS,
            _LEASE_US,
        ),
    )
    return bool(reply[1:] != [b"settled"])


def settle(
    state: StateConnection, request_id: str, account: Account, model: str, use: Use, *, admitted: bool, again: bool
) -> Awaitable[object]:
    """Turns what a request has reserved into what it has used, and frees its slot. May be repeated.

    Args:
        state: the store.
        request_id: of the request.
        account: whose it is.
        model: the model that was called.
        use: what it has used.
        admitted: ``admit`` has answered that it was admitted; ``False`` when the store was away then.
        again: this settlement was sent before, and nobody knows whether it was made.

    Raises:
        StateUnavailable: at once, when the store is known to be away; else from what is returned, when no answer came
            in time: it may have been made.
        StateError: the store refused the script.
    """
    return state.run_script(
        SETTLE,
        _keys(account.tag, account.key_id, request_id, model),
        (
            request_id.encode(),
            account.key_id,
            _word(model),
            *(int(admitted), int(again)),
            *(use.input_tokens, use.cache_write_tokens, use.cache_read_tokens, use.output_tokens),
            use.nano,
            *(int(use.estimated), int(use.complete), use.requests, use.cache_hits),
            keys.SETTLED_TTL_S if admitted else keys.STATE_TTL_S,
            *_TTLS,
        ),
    )


def _keys(tag: str, key_id: str, request_id: str, model: str) -> tuple[str, ...]:
    return (keys.lease(tag, request_id), *keys.account(tag, key_id), keys.mean(tag, _word(model)))


def _word(model: str) -> str:
    """A model as one word of a stored value; an operator's own names may hold spaces."""
    return "_".join(model.split()) or "_"


# The reply of admit.lua, by position.

_LIMIT_NAMES: Final = {
    "requests": "requests_per_minute",
    "input": "input_tokens_per_minute",
    "output": "output_tokens_per_minute",
    "concurrency": "concurrency",
    "budget_day": "budget_day_nano",
    "budget_month": "budget_month_nano",
    "budget_total": "budget_total_nano",
    "budget_reserved": "budget_reserved",
}


def _verdict(reply: Sequence[Any]) -> Verdict:
    if reply[1:] == [b"settled"]:
        raise StateError("The request was settled before it was admitted.")
    try:
        return _read_verdict(reply)
    except (ValueError, TypeError, AttributeError, LookupError):
        raise StateError("The state store answered an admission with what cannot be read.") from None


def _read_verdict(reply: Sequence[Any]) -> Verdict:
    what = reply[1]
    if what in _KEY_FAULTS:
        return Verdict(key_fault=cast("KeyFault", what.decode()))
    if what == b"damaged":
        raise StateError("The state store keeps a record of this API key that cannot be read.")
    if what not in (b"admitted", b"limited", b"unbounded"):
        raise ValueError(what)
    (_, _, refused, wait_us, _, document, *numbers) = reply
    r_limit, r_left, r_full, t_limit, t_left, t_full, granted, left_key, left_tenant, *held = numbers
    return Verdict(
        admitted=what == b"admitted",
        refusal=_refusal(refused.decode(), wait_us) if what == b"limited" else None,
        unbounded=what == b"unbounded",
        key=decode_doc(document) if document else None,
        requests=_gauge(r_limit, r_left, r_full),
        tokens=_gauge(t_limit, t_left, t_full),
        max_tokens=granted,
        budget_left=(_budget(left_key), _budget(left_tenant)),
        hold=Hold(input_tokens=held[0], output_tokens=held[1], nano=held[2]),
    )


def _refusal(refused: str, wait_us: int) -> Refusal:
    whose, _, limit = refused.partition(".")
    return Refusal(
        whose="tenant" if whose == "tenant" else "key",
        limit=_LIMIT_NAMES[limit],
        retry_after_s=None if wait_us < 0 else wait_us / 1_000_000,
        spent=limit in ("budget_day", "budget_month", "budget_total"),
    )


def _gauge(limit: int, left: int, full_us: int) -> Gauge | None:
    return None if limit < 0 else Gauge(limit=limit, left=left, full_in_s=full_us / 1_000_000)


def _budget(left: int) -> int | None:
    return None if left < 0 else left

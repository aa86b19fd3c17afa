"""The limiter as tests of the state room call it: one tenant, its callers, and demands that are easy to count."""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec.structs import replace

from app.domain.auth import ApiKey, Caller, Scope, tenant_tag
from app.domain.limits import NO_LIMITS, Demand, Hold, Limits, Use
from app.state import limits
from app.state.connection import StateConnection
from app.state.limit_words import limit_words
from app.state.limits import Account, Verdict
from tests.support.stored_ledger import Stored, read_ledger, write_key

TENANT_NAME = "acme"
TAG = tenant_tag(TENANT_NAME)
MODEL = "claude-opus-5"

#: 10 input tokens for 10 nano-dollars, at worst 20, and up to 100 output tokens for 1 nano-dollar each.
DEMAND = Demand(
    model=MODEL,
    model_names=(MODEL, "opus"),
    input_tokens=10,
    input_nano=10,
    output_tokens=100,
    worst_input_nano=20,
    output_nano_per_token=1,
    max_tokens=100,
    least_tokens=1,
)
#: What such a request has used in the end.
USE = Use(input_tokens=8, cache_write_tokens=3, cache_read_tokens=500, output_tokens=40, nano=52, complete=True)
NOTHING = Use(requests=0)
#: What a request has used that was answered from the response cache.
HIT = Use(requests=0, cache_hits=1)


def demand(**fields: Any) -> Demand:
    """``DEMAND`` with other fields."""
    return replace(DEMAND, **fields)


def secret_hash(key_id: str) -> bytes:
    """What is kept of the text of a key that ``stored_key`` makes."""
    return hashlib.sha256(key_id.encode()).digest()


def known(key_id: str = "jwt-abc") -> Caller:
    """A caller that brings its limits along."""
    return Caller(tag=TAG, source="jwt", tenant=TENANT_NAME, key_id=key_id)


class Limiter:
    """One worker's calls of the limiter.

    Args:
        state: the store.
        own: limits of callers, where their record sets none.
        tenant: limits of the tenant.
    """

    def __init__(self, state: StateConnection, *, own: Limits = NO_LIMITS, tenant: Limits = NO_LIMITS) -> None:
        self.state = state
        self.own = own
        self.tenant = tenant
        self.holds: dict[str, Hold] = {}

    async def stored_key(self, key_id: str = "key1", **fields: Any) -> Caller:
        """Stores a key; returns the caller that presents it."""
        key = ApiKey(
            **{"id": key_id, "tenant": TENANT_NAME, "name": "", "secret_hash": secret_hash(key_id).hex(), **fields}
        )
        await write_key(self.state, key)
        return presented(key_id)

    async def admit(
        self,
        request_id: str,
        demand: Demand = DEMAND,
        *,
        caller: Caller | None = None,
        scope: Scope = "inference",
        known_version: int = 0,
    ) -> Verdict:
        """Admits a request of a caller, by default of one that brings its limits along."""
        verdict = await limits.admit(
            self.state,
            request_id,
            caller or known(),
            demand,
            scope=scope,
            known_version=known_version,
            defaults=limit_words(self.own),
            tenant=limit_words(self.tenant),
            usual_output=1000,
        )
        self.holds[request_id] = verdict.hold
        return verdict

    async def renew(self, request_id: str, use: Use = NOTHING, *, key_id: str = "jwt-abc", model: str = MODEL) -> bool:
        """Renews the lease of a request with what it held when it was admitted."""
        hold = self.holds.get(request_id, Hold())
        account = Account(TAG, key_id)
        return await limits.renew(self.state, request_id, account, model, hold=hold, use=use, max_tokens=100)

    async def settle(
        self,
        request_id: str,
        use: Use = USE,
        *,
        key_id: str = "jwt-abc",
        model: str = MODEL,
        admitted: bool = True,
        again: bool = False,
    ) -> bool:
        """Settles a request; whether it was counted."""
        account = Account(TAG, key_id)
        reply: Any = await limits.settle(self.state, request_id, account, model, use, admitted=admitted, again=again)
        assert reply[0] == request_id.encode()
        return bool(reply[1] == b"settled")

    async def stored(self) -> Stored:
        """Everything that is stored of the tenant."""
        return await read_ledger(self.state, TAG)


def presented(key_id: str, text: str = "") -> Caller:
    """Who presents a stored key; ``text`` is another secret than that of ``stored_key``."""
    return Caller(
        tag=TAG, source="stored", tenant="", key_id=key_id, secret_hash=secret_hash(text or key_id), verified=False
    )

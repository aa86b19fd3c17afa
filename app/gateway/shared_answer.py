"""Which answer a request shares with others: that of an ``Idempotency-Key``, or of the response cache.

Contract: DESIGN.md section 3, "Response cache" and "Single flight".
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from app.domain.auth import Caller
from app.domain.caching import CachePlan, plan_cache
from app.errors import IdempotencyKeyReused
from app.gateway.chat import ChatRequest
from app.gateway.services import Services
from app.gateway.session_book import session_scope
from app.state.answers import Slot, join_flight
from app.state.scripts import ScriptCall
from app.translate.answer_identity import request_fingerprint, same_answer_key

#: Characters of a digest that stand in a name.
_DIGEST_CHARS = 40


class Shared(Struct, frozen=True, kw_only=True):
    """An answer that equal requests share.

    Args:
        slot: where it is.
        fingerprint: of the whole request, for an ``Idempotency-Key``; else empty.
        max_age_s: of an answer that is good enough; ``None``: any.
        joins: an answer that is there, or in the making, is good enough.
        ttl_s: seconds that it is kept; 0: only while it is made.
    """

    slot: Slot
    fingerprint: bytes = b""
    max_age_s: float | None = None
    joins: bool = True
    ttl_s: int

    def join_command(self, request_id: str, *, channel: str) -> ScriptCall:
        """Asks the store for the answer, or who makes it.

        Args:
            request_id: of whoever asks, unique.
            channel: on which this worker is woken.
        """
        return join_flight(
            self.slot, request_id, channel=channel, fingerprint=self.fingerprint, max_age_s=self.max_age_s
        )


def shared_answer(services: Services, request: ChatRequest, owner: Caller) -> Shared | None:
    """The answer that a request shares with others; ``None``: its answer is its own.

    Args:
        services: the rooms.
        request: the client's.
        owner: who asks, with what is known of its key.
    """
    chat, key = request.chat, request.wants.idempotency_key
    if key:
        return Shared(
            slot=Slot("once", owner.tag, _digest(services, owner, "once", key.encode())),
            fingerprint=request_fingerprint(chat, request.thinking_tokens),
            ttl_s=services.config.idempotency_ttl,
        )
    plan = _cache_plan(services, request, owner)
    if plan is None:
        return None
    identity = same_answer_key(chat, request.call, thinking_tokens=request.thinking_tokens)
    return Shared(
        slot=Slot("answer", owner.tag, _digest(services, owner, "answer", identity)),
        max_age_s=plan.max_age_s,
        joins=plan.reads,
        # No longer than a session lives: ``volatile-ttl`` evicts by the time that is left.
        ttl_s=min(plan.ttl_s, services.session_rules.ttl_s) if plan.stores else 0,
    )


def _cache_plan(services: Services, request: ChatRequest, owner: Caller) -> CachePlan | None:
    if request.session or owner.credential:
        return None  # a conversation goes on, it does not repeat itself; and nobody pays for another's answer
    return plan_cache(owner.cache.over(services.cache_rule), request.wants.cache)


def _digest(services: Services, owner: Caller, kind: str, identity: bytes) -> str:
    scope = session_scope(services, owner)
    return hashlib.sha256(f"{kind} {scope} ".encode() + identity).hexdigest()[:_DIGEST_CHARS]


def key_reused() -> IdempotencyKeyReused:
    """The error of an ``Idempotency-Key`` that belongs to another request."""
    return IdempotencyKeyReused(
        "This Idempotency-Key was sent before with another request. Send the same request again, or take a new key.",
        param="header.idempotency-key",
    )

"""Conversations of several turns through the translation, without a gateway: sessions that grow, and kept answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from app.domain.calls import MessagesCall
from app.domain.models import ModelTable
from app.domain.sessions import SessionHead, SessionHistory, StoredTurn
from app.translate.chat_to_messages import TranslationSettings, decode_chat_request, to_messages
from app.translate.history import split_turn
from tests.support.chat_requests import HELLO, MODELS
from tests.support.simulator_calls import content, send
from workers.simulator.service import Simulator

NOTHING = SessionHistory(SessionHead())


def raws(*blocks: dict[str, Any]) -> list[Raw]:
    """Blocks as an upstream reply has them."""
    return [Raw(json.dumps(block).encode()) for block in blocks]


def turn_call(
    request: dict[str, Any],
    *,
    history: SessionHistory | None = None,
    kept: Mapping[str, bytes] | None = None,
    models: ModelTable = MODELS,
    strict: bool | None = None,
    **settings: Any,
) -> MessagesCall:
    """Translates one turn; no automatic caching unless it is asked for."""
    body = json.dumps({"model": "claude-opus-5-5", "messages": HELLO, **request}).encode()
    chosen = TranslationSettings(**{"auto_cache": "off", **settings})
    return to_messages(decode_chat_request(body), models, chosen, history=history, kept=kept, strict=strict)


def turn_body(request: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The upstream body of one turn."""
    body: dict[str, Any] = json.loads(turn_call(request, **options).body)
    return body


def committed(
    history: SessionHistory, messages: Sequence[dict[str, Any]], answer: Sequence[Raw] = ()
) -> SessionHistory:
    """The session after a turn, as the store would give it back."""
    request = decode_chat_request(json.dumps({"model": "m", "messages": list(messages)}).encode()).request
    new = split_turn(request.messages, history.head)
    turn = StoredTurn(
        at=1.0, messages=new.stored, count=new.count, answer=Raw(msgspec.json.encode(list(answer))), model="m"
    )
    head = msgspec.structs.replace(
        history.head,
        seq=history.head.seq + 1,
        messages=history.head.messages + new.total + 1,
        instructions=new.instructions or history.head.instructions,
    )
    return SessionHistory(head, (*history.turns, turn))


def answered(simulator: Simulator, call: MessagesCall, script: str = "") -> bytes:
    """The simulator's reply, plain or streamed; it must have accepted the request and dropped no thinking."""
    headers = {"anthropic-version": call.anthropic_version, "anthropic-beta": ",".join(call.betas) or None}
    reply = send(simulator, call.body, headers={**headers, "x-simulator-script": script or None})
    body = content(reply)
    assert reply.status == 200, body
    assert b'"input_transformations":[{' not in body.replace(b" ", b""), body
    return body

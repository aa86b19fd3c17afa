"""What is kept of an answer that has come whole, before its client has the last byte of it: read-your-writes.

The settlement of its use leaves beside it and delays nobody. Contract: DESIGN.md section 3, "Settle".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeAlias

from msgspec import Raw

from app.errors import StateError, StateUnavailable
from app.gateway.chat import Admitted
from app.gateway.entrance import Entry
from app.gateway.services import Services
from app.gateway.session_book import EVICTED_HEADER
from app.state.connection import Command
from app.state.kept_answers import keep_command
from app.translate.kept_thinking import kept_record

#: Of each answer the blocks, exactly as they came.
Contents: TypeAlias = Sequence[Sequence[Raw]]


async def finish(services: Services, entry: Entry, admitted: Admitted, contents: Contents) -> None:
    """Settles a request whose answer is whole, and keeps of it what the next one will need. May be repeated.

    Args:
        services: the rooms.
        entry: the request.
        admitted: what it had become.
        contents: of each answer, as it came; needed where ``admitted.keeps_content``.

    Raises:
        StateUnavailable: it could not be kept; the client must not take the answer for kept.
        Conflict: its session has changed meanwhile.
    """
    entry.settle(complete=True)
    keeping: list[Awaitable[None]] = []
    if admitted.turn is not None:
        keeping.append(admitted.turn.commit(admitted.permit, admitted.call, contents[0]))
    elif admitted.call.keeps_answers:
        records = [record for content in contents if (record := kept_record(content)) is not None]
        tag = admitted.permit.account.tag
        if records:
            keeping.append(_keep(services, admitted, [keep_command(tag, *record) for record in records]))
    if not keeping:
        return
    try:
        await asyncio.gather(*keeping)
    except StateError as error:
        raise StateUnavailable(
            "Claude has answered, and the answer could not be kept for the next turn; please send this one again.",
            retry_after_s=error.retry_after_s or 1,
        ) from error
    if admitted.turn is not None:  # what it had to drop is known for sure now
        entry.headers.pop(EVICTED_HEADER, None)
        entry.headers |= admitted.turn.headers


async def _keep(services: Services, admitted: Admitted, commands: Sequence[Command]) -> None:
    """Keeps answers with tool calls; one that was let in without the store has been told that nothing is sure."""
    try:
        for reply in await services.state.pipeline(commands):
            if isinstance(reply, StateError):
                raise reply
    except StateError:
        if not admitted.permit.degraded:
            raise

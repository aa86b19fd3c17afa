"""Answers that made tool calls, kept by the first of those calls: clients of Chat Completions cannot carry all of them.

A client sends the ids of its tool calls back, and nothing of thinking and of the order of blocks; the whole content is
found again by them, on any replica. Source: DESIGN.md section 3; spec/chat-completions.md section 6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from app.errors import StateError, StateUnavailable
from app.state import codec, keys
from app.state.connection import Command, Reply


def kept_commands(tag: str, call_ids: Iterable[str]) -> list[Command]:
    """The commands that read what is kept of answers; ``read_kept`` reads their replies.

    Args:
        tag: of the tenant.
        call_ids: of each answer the id of its first tool call, as a client says it: any text.
    """
    return [("GET", _name(tag, call_id)) for call_id in call_ids]


def read_kept(call_ids: Sequence[str], replies: Sequence[Reply | StateError]) -> dict[str, bytes]:
    """The contents of answers by the ids of their first calls; what is gone or cannot be read is absent.

    Args:
        call_ids: as for ``kept_commands``.
        replies: to its commands.

    Raises:
        StateUnavailable: the store cannot be read now, so nobody knows whether something is kept.
    """
    return dict(_readable(call_ids, replies))


def keep_command(tag: str, call_id: str, content: bytes) -> Command:
    """The command that keeps the content of an answer, for ``keys.KEPT_TTL_S``.

    Args:
        tag: of the tenant.
        call_id: of its first tool call.
        content: what shall be found again.
    """
    return ("SET", _name(tag, call_id), codec.pack(content), "EX", keys.KEPT_TTL_S)


def _readable(call_ids: Sequence[str], replies: Sequence[Reply | StateError]) -> Iterator[tuple[str, bytes]]:
    for call_id, reply in zip(call_ids, replies, strict=True):
        if isinstance(reply, StateUnavailable):
            raise reply
        if isinstance(reply, bytes) and (content := codec.unpack(reply)) is not None:
            yield call_id, content


def _name(tag: str, call_id: str) -> str:
    """A digest stands in the name: an id may be of any length, and hold braces."""
    digest = hashlib.sha256(call_id.encode(errors="surrogatepass")).hexdigest()[:32]
    return keys.kept(tag, digest)

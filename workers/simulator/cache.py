"""The prompt cache: which prefix of a prompt was seen before, by the rules of ``cache_control``.

Entries are hashes of prefixes that ended at a breakpoint. A breakpoint is looked up at its own block and at up to 20
blocks before it; the longest prefix found is read, the rest up to the last breakpoint is written. An entry lives for
its time to live (5 minutes or an hour) after its last use. A prefix below the model's minimum is neither written nor
read. The model, the credential and, for the part that is messages, the thinking, tool choice and format of the
request are part of the key.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from workers.simulator.prompt import Piece
from workers.simulator.wire import CountTokensRequest

TTL_S: Final = {"5m": 300.0, "1h": 3600.0}

#: How many blocks before a breakpoint a cached prefix may have ended.
LOOKBACK_BLOCKS: Final = 20

_MAX_ENTRIES: Final = 100_000
_encode = msgspec.json.Encoder().encode


class CacheUse(Struct, frozen=True):
    """Tokens of a prompt that were read from the cache and that were written to it."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0


class PromptCache:
    """Cached prefixes, in memory, the least recently used leave first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()

    def use(
        self, request: CountTokensRequest, pieces: Sequence[Piece], *, scope: bytes, min_tokens: int, now_s: float
    ) -> CacheUse:
        """Reads and writes the cache for one request.

        Args:
            request: for its top-level ``cache_control`` and what else belongs to the key.
            pieces: of the request.
            scope: credential and model.
            min_tokens: of the model.
            now_s: a clock that never goes back.
        """
        marks: dict[int, str] = {index: piece.ttl for index, piece in enumerate(pieces) if piece.ttl}
        if request.cache_control is not None:
            last = next((i for i in range(len(pieces) - 1, -1, -1) if not pieces[i].is_thinking), None)
            if last is not None:
                marks.setdefault(last, request.cache_control.ttl)
        if not marks:
            return CacheUse()
        digests, totals = _prefixes(request, pieces[: max(marks) + 1], scope)
        marks = {index: ttl for index, ttl in marks.items() if totals[index] >= min_tokens}
        if not marks:
            return CacheUse()
        read = self._read(sorted(marks, reverse=True), digests, totals, min_tokens, now_s)
        return self._write(marks, digests, totals, read, now_s)

    def _read(
        self, marks: Sequence[int], digests: Sequence[bytes], totals: Sequence[int], min_tokens: int, now_s: float
    ) -> int:
        """Tokens of the longest prefix that is cached; using it renews it."""
        for mark in marks:
            for index in range(mark, max(mark - LOOKBACK_BLOCKS, 0) - 1, -1):
                entry = self._entries.get(digests[index])
                if entry is not None and entry[0] > now_s and totals[index] >= min_tokens:
                    self._store(digests[index], entry[1], now_s)
                    return totals[index]
        return 0

    def _write(
        self,
        marks: dict[int, str],
        digests: Sequence[bytes],
        totals: Sequence[int],
        read: int,
        now_s: float,
    ) -> CacheUse:
        written = {"5m": 0, "1h": 0}
        reached = read
        for index in sorted(marks):
            ttl = marks[index]
            if totals[index] > reached:
                written[ttl] += totals[index] - reached
                reached = totals[index]
            self._store(digests[index], TTL_S[ttl], now_s)
        return CacheUse(read, written["5m"], written["1h"])

    def _store(self, digest: bytes, ttl_s: float, now_s: float) -> None:
        self._entries[digest] = (now_s + ttl_s, ttl_s)
        self._entries.move_to_end(digest)
        if len(self._entries) > _MAX_ENTRIES:
            self._entries.popitem(last=False)


def _prefixes(request: CountTokensRequest, pieces: Sequence[Piece], scope: bytes) -> tuple[list[bytes], list[int]]:
    """Hash and token count of the prompt up to and including each piece."""
    hasher = hashlib.blake2b(scope, digest_size=16)
    digests: list[bytes] = []
    totals: list[int] = []
    total = 0
    in_messages = False
    for piece in pieces:
        if not in_messages and piece.path[0] >= 0:
            in_messages = True
            hasher.update(
                _encode((request.thinking or None, request.tool_choice or None, request.output_config.format))
            )
        hasher.update(len(piece.data).to_bytes(8, "big") + piece.data)
        total += piece.tokens
        digests.append(hasher.copy().digest())
        totals.append(total)
    return digests, totals

"""The stored API keys that one worker has seen lately: what lets a key go on while Redis is away.

Every admission tells what Redis said of a key. For ``MEMORY_S`` after that the key is believed without asking; a key
that was changed or revoked is forgotten when the push of it comes (``key_pushes.py``). Using a remembered key during an
outage does not prolong it: a worker that is cut off must not believe a revoked key for ever. Plain memory, no I/O.
Source: DESIGN.md section 4.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from msgspec import Struct

from app.domain.auth import ApiKey

#: How long a key is believed after Redis last confirmed it; less than ``keys.REVOKED_TTL_S``.
MEMORY_S = 600.0
#: Keys of one worker; the one confirmed longest ago goes.
MOST_KEYS = 10_000


class _Entry(Struct, frozen=True):
    """What was learned of a key, and when.

    Args:
        key: its record; ``None``: it was changed, the record has to be read again.
        at: Unix seconds.
    """

    key: ApiKey | None
    at: float


class KeyMemory:
    """The keys that a worker remembers, by the tag of their tenant and their id.

    Args:
        now: the wall clock, in Unix seconds.
        most_keys: at most so many.
    """

    def __init__(self, *, now: Callable[[], float], most_keys: int = MOST_KEYS) -> None:
        self._now = now
        self._most_keys = most_keys
        #: Oldest first.
        self._entries: dict[tuple[str, str], _Entry] = {}

    def remember(self, tag: str, key: ApiKey, *, asked_at: float) -> None:
        """Redis has just confirmed a key.

        Args:
            tag: of its tenant.
            key: its record.
            asked_at: Unix seconds at which Redis was asked. An answer that was under way while the key was forgotten
                may be older than the change, and is not believed.
        """
        name = (tag, key.id)
        entry = self._entries.get(name)
        if entry is not None and entry.key is None and entry.at >= asked_at:
            return
        self._put(name, _Entry(key, self._now()))

    def recall(self, tag: str, key_id: str, secret_hash: bytes) -> ApiKey | None:
        """The key, if it was confirmed lately, has not run out and is the one that was presented.

        Args:
            tag: of its tenant.
            key_id: its id.
            secret_hash: SHA-256 of the presented text, raw bytes.
        """
        entry, now = self._entries.get((tag, key_id)), self._now()
        if entry is None or entry.key is None or now - entry.at >= MEMORY_S:
            return None
        return entry.key if is_good(entry.key, secret_hash, now) else None

    def knows(self, tag: str, key_id: str) -> bool:
        """Whether there is such a key, as far as is remembered; it may have been changed since, or run out."""
        return (tag, key_id) in self._entries

    def forget(self, tag: str, key_id: str) -> None:
        """A key was changed or revoked: what is remembered of it does not hold any more."""
        self._put((tag, key_id), _Entry(None, self._now()))

    def _put(self, name: tuple[str, str], entry: _Entry) -> None:
        self._entries.pop(name, None)
        self._entries[name] = entry
        if len(self._entries) > self._most_keys:
            del self._entries[next(iter(self._entries))]


def is_good(key: ApiKey, secret_hash: bytes, now: float) -> bool:
    """Whether a presented key is this one, and the key neither revoked nor run out; compares in constant time.

    Args:
        key: its record.
        secret_hash: SHA-256 of the presented text, raw bytes.
        now: Unix seconds.
    """
    if key.revoked_at is not None or (key.expires_at is not None and now >= key.expires_at):
        return False
    presented = secret_hash.hex()
    if hmac.compare_digest(presented, key.secret_hash):
        return True
    return now < key.previous_until and hmac.compare_digest(presented, key.previous_hash)

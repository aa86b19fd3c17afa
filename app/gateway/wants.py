"""What a client's headers ask of the things that the gateway keeps: a session, a cached answer, an Idempotency-Key."""

from __future__ import annotations

from msgspec import Struct

from app.domain.caching import CacheControl


class Wants(Struct, frozen=True, kw_only=True):
    """The headers of one request.

    Args:
        session: ``X-Session-ID``; empty without one. ``session_id`` in the body means the same.
        wait_s: how long a turn may wait for the one that holds its session; ``None``: as the settings say.
        forks: a turn that would have to be refused then goes on in a copy of the session.
        idempotency_key: ``Idempotency-Key``; empty without one.
        cache: ``Cache-Control``.
    """

    session: str = ""
    wait_s: float | None = None
    forks: bool = False
    idempotency_key: str = ""
    cache: CacheControl = CacheControl()

    def wait_within(self, most_s: float) -> float:
        """Seconds to wait for a session, where the settings allow ``most_s``."""
        return most_s if self.wait_s is None else min(self.wait_s, most_s)

    @property
    def is_none(self) -> bool:
        """Whether there are no such headers."""
        return self == NOTHING_WANTED


NOTHING_WANTED = Wants()

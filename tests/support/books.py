"""What Redis holds of limits, spend, leases and use, read from outside: layouts of ``app/state/scripts/ledger.lua``."""

from __future__ import annotations

from collections import Counter
from typing import cast

from msgspec import Struct

from app.state import keys
from tests.support.redis import RedisServer

#: Units of a token in a bucket.
UNIT = 60_000_000


#: Model -> class -> tokens, requests or nano-dollars.
Use = dict[str, Counter[str]]


class Rates(Struct, frozen=True):
    """Token buckets: balances in units as of ``at_us``; ``None`` without a limit."""

    at_us: int
    requests: int | None
    input: int | None
    output: int | None


class Spend(Struct, frozen=True):
    """Nano-dollars."""

    total: int = 0
    reserved: int = 0


class Books:
    """Reads the books of tenants and keys.

    Args:
        server: where they are.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def now_us(self) -> int:
        """The server's clock."""
        seconds, micros = cast("list[bytes]", self._server.ask("TIME"))
        return int(seconds) * 1_000_000 + int(micros)

    def rates(self, tag: str, scope: str = keys.TENANT) -> Rates:
        """Balances of a key, or of the tenant."""
        value = cast("bytes", self._server.ask("GET", keys.rates(tag, scope)))
        at, *balances = value.decode().split(" ")
        return Rates(int(at), *(None if word == "-" else int(word) for word in balances))

    def spend(self, tag: str, scope: str = keys.TENANT) -> Spend:
        """What a key, or the tenant, has spent, and what its running requests hold."""
        return read_spend(cast("bytes | None", self._server.ask("GET", keys.spend(tag, scope))))

    def live(self, tag: str, scope: str = keys.TENANT) -> int:
        """Requests that hold a lease."""
        return cast("int", self._server.ask("ZCARD", keys.live(tag, scope)))

    def is_busy(self, tag: str) -> bool:
        """Whether a request of a tenant is not settled yet."""
        return bool(self.live(tag) or self.spend(tag).reserved)

    def leases(self, tag: str) -> list[str]:
        """The values of all leases of a tenant; ``S`` is one that is settled."""
        names = cast("list[bytes]", self._server.ask("KEYS", keys.lease(tag, "*")))
        return [cast("bytes", self._server.ask("GET", name)).decode() for name in names]

    def usage(self, tag: str, key_id: str) -> Use:
        """What a key has used on all days together."""
        models: Use = {}
        for name in cast("list[bytes]", self._server.ask("KEYS", keys.usage(tag, key_id) + "*")):
            fields = cast("list[bytes]", self._server.ask("HGETALL", name))
            for field, value in zip(fields[::2], fields[1::2], strict=True):
                model, _, class_ = field.decode().rpartition(" ")
                models.setdefault(model, Counter())[class_] += int(value)
        return models


def read_spend(value: bytes | None) -> Spend:
    """A spend key's value."""
    if value is None:
        return Spend()
    *_, total, reserved = value.split(b" ")
    return Spend(int(total), int(reserved))

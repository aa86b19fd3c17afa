"""What the limiter's scripts have stored for a tenant, read back; and whether every key has the TTL it should have.

The formats are those at the head of ``ledger.lua``, the names and times to live those of ``app/state/keys.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from app.config import Config
from app.domain.auth import ApiKey, tenant_tag
from app.state import keys
from app.state.api_keys import hot_fields
from app.state.connection import StateConnection
from app.state.sessions import TURN_TTL_S
from tests.support.ledger_model import Book, Lease, LedgerModel, Rates, Spend

#: The declared times to live by kind of key, in seconds; ``None`` lives for ever.
SESSION_TTL_S = Config().session_ttl

TTLS_S: dict[str, tuple[int | None, ...]] = {
    "worker": (keys.WORKER_TTL_S,),
    "workers": (keys.WORKER_TTL_S,),
    "secret": (keys.SECRET_TTL_S,),
    "probe": (keys.PROBE_TTL_S,),
    "key": (None,),
    "keys": (None,),
    "revoked": (keys.REVOKED_TTL_S,),
    "audit": (keys.AUDIT_TTL_S,),
    "minute": (keys.MINUTE_TTL_S,),
    "hour": (keys.HOUR_TTL_S,),
    "requests": (keys.REQUESTS_TTL_S,),
    "leader": (keys.LEADER_TTL_S,),
    "alerts": (keys.ALERTS_TTL_S,),
    "watched": (keys.WATCHED_TTL_S,),
    "seated": (keys.SEATED_TTL_S,),
    "exhausted": (keys.EXHAUSTED_TTL_S,),
    "guesses": (keys.GUESSES_TTL_S,),
    "rates": (keys.STATE_TTL_S,),
    "spend": (keys.SPEND_TTL_S,),
    "live": (keys.SPEND_TTL_S,),
    "lease": (keys.SPEND_TTL_S, keys.STATE_TTL_S, keys.SETTLED_TTL_S),
    "mean": (keys.STATE_TTL_S,),
    "usage": (keys.USAGE_TTL_S,),
    "sessions": (SESSION_TTL_S,),
    "seat": (SESSION_TTL_S,),
    "session": (SESSION_TTL_S, TURN_TTL_S),
    "turns": (SESSION_TTL_S,),
    "kept": (keys.KEPT_TTL_S,),
    "flight": (keys.FLIGHT_TTL_S,),
    "answer": (Config().cache_ttl,),
    "once": (Config().idempotency_ttl,),
}

_KIND = re.compile(r"cw:\{[^}]+\}:([a-z]+):v\d+")


class Stored(Struct, frozen=True):
    """What is stored for a tenant, in the shapes of ``LedgerModel``."""

    books: dict[str, Book]
    leases: dict[str, Lease]
    usage: dict[tuple[str, int], dict[tuple[str, str], int]]
    means: dict[str, int]


def kind_of(name: str) -> str:
    """The kind of a key of ours; empty for a key that is not."""
    found = _KIND.match(name)
    return found[1] if found else ""


def lasting_keys(ask: Callable[..., Any]) -> list[str]:
    """Keys of ours without a time to live that are not meant to live for ever; there must be none.

    Args:
        ask: asks a server one command and returns its reply, such as ``RedisServer.ask``.
    """
    names = [name.decode() for name in ask("KEYS", "cw:*")]
    return [
        name
        for name in sorted(names)
        if ask("PTTL", name) == -1 and not any(pattern.match(name) for pattern in keys.PERMANENT)
    ]


async def times_to_live(state: StateConnection) -> dict[str, int]:
    """Every key with its time to live in seconds; -1 lives for ever."""
    names = await state.call("KEYS", "*")
    return {name.decode(): await state.call("TTL", name) for name in names}


def undeclared_ttls(ttls: Iterable[tuple[str, int]], *, younger_than_s: int = 300) -> list[tuple[str, int]]:
    """Keys whose time to live is none that is declared for their kind.

    Args:
        ttls: names with times to live in seconds.
        younger_than_s: all of them were written within this time.
    """
    return [
        (name, ttl)
        for name, ttl in ttls
        if not any(
            ttl == -1 if declared is None else declared - min(younger_than_s, declared) <= ttl <= declared and ttl > 0
            for declared in TTLS_S.get(kind_of(name), ())
        )
    ]


async def everything(state: StateConnection) -> dict[bytes, Any]:
    """Every key with its value, as it is stored."""
    names = sorted(await state.call("KEYS", "*"))
    return {name: await _value(state, name) for name in names}


async def _value(state: StateConnection, name: bytes) -> Any:
    match await state.call("TYPE", name):
        case b"string":
            return await state.call("GET", name)
        case b"hash":
            flat = await state.call("HGETALL", name)
            return dict(zip(flat[::2], flat[1::2], strict=True))
        case b"zset":
            return await state.call("ZRANGE", name, 0, -1, "WITHSCORES")
        case b"stream":
            return await state.call("XRANGE", name, "-", "+")
        case other:
            raise AssertionError(other)


async def write_key(state: StateConnection, key: ApiKey) -> None:
    """Stores the record of a key as ``api_keys`` does, whatever its version."""
    words = [word for pair in hot_fields(key).items() for word in pair]
    await state.call("HSET", keys.api_key(tenant_tag(key.tenant), key.id), "doc", msgspec.json.encode(key), *words)


async def read_ledger(state: StateConnection, tag: str) -> Stored:
    """Everything that is stored for a tenant, its keys' records apart."""
    stored = Stored({}, {}, {}, {})
    for raw, value in (await everything(state)).items():
        name = raw.decode()
        if not name.startswith(f"cw:{{{tag}}}:"):
            continue
        rest = name.split(":v1", 1)[1][1:]
        book = stored.books.setdefault(rest, Book()) if kind_of(name) in ("rates", "spend", "live") else Book()
        match kind_of(name):
            case "rates":
                book.rates = _rates(value)
            case "spend":
                book.spend = _spend(value)
            case "live":
                book.live |= {
                    member.decode(): int(float(end)) for member, end in zip(value[::2], value[1::2], strict=True)
                }
            case "lease":
                stored.leases[rest] = _lease(value)
            case "mean":
                stored.means[rest] = int(value)
            case "usage":
                whose, day = rest.rsplit(":", 1)
                stored.usage[whose, int(day)] = {_usage_name(one): int(count) for one, count in value.items()}
    return stored


def _rates(value: bytes) -> Rates:
    at, *balances = value.decode().split(" ")
    named = zip(("requests", "input", "output"), balances, strict=True)
    return Rates(int(at), {name: int(balance) for name, balance in named if balance != "-"})


def _spend(value: bytes) -> Spend:
    day, of_day, month, of_month, total, reserved = map(int, value.decode().split(" "))
    return Spend(day, month, of_day, of_month, total, reserved)


def _lease(value: bytes) -> Lease:
    words = value.decode().split(" ")
    if words == ["S"]:
        return Lease("S")
    state, key_id, model, *numbers = words
    assert state in ("A", "X")
    return Lease(state, key_id, model, *map(int, numbers))


def _usage_name(field: bytes) -> tuple[str, str]:
    model, kind = field.decode().split(" ")
    return model, kind


def assert_same(stored: Stored, model: LedgerModel) -> None:
    """Compares what is stored with the model, by what it means at the model's time."""
    for whose in {*stored.books, *model.books}:
        ours, theirs = stored.books.get(whose, Book()), model.book(whose)
        assert ours.rates == theirs.rates, whose
        assert Spend.at(model.now, ours.spend) == Spend.at(model.now, theirs.spend), whose
        assert ours.live == theirs.live, whose
    assert stored.leases == model.leases
    assert _nonzero(stored.usage) == _nonzero(model.usage)
    assert stored.means == model.means


def _nonzero(usage: dict[tuple[str, int], dict[tuple[str, str], int]]) -> dict[tuple[str, int, str, str], int]:
    return {(*day, *name): count for day, counts in usage.items() for name, count in counts.items() if count}

"""Stored answers and the flights that make them: equal requests on all replicas share one call of the upstream.

A *slot* is the place of one answer. Whoever joins it finds the answer, follows the request that is making it, or leads
and makes it; the leader renews its lease while it works (``RENEW_EVERY_S``), and lands with the answer or without one.
A leader that dies is followed by whoever joins after its lease has run out. The scripts decide on the server's clock.
Source: DESIGN.md section 3, "Response cache" and "Single flight".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from app.errors import StateError
from app.state import codec, keys
from app.state.connection import Reply, StateConnection
from app.state.scripts import ScriptCall, load_script

#: A leader that has not renewed for this long has died; it renews three times within.
LEASE_S: Final = 12.0
RENEW_EVERY_S: Final = 4.0
#: Larger values do not travel with an admission, which would have to wait for them.
LARGE_BYTES: Final = 64 * 1024
#: The share of a time to live by which it may be shortened, so that equal entries do not all expire at once.
JITTER: Final = 0.1

JOIN_FLIGHT: Final = load_script("join_flight", after="flight", echoes=True)
LAND_FLIGHT: Final = load_script("land_flight", after="flight", echoes=True)
RENEW_FLIGHT: Final = load_script("renew_flight", after="flight", echoes=True)

_LEASE_US: Final = int(LEASE_S * 1_000_000)
#: Begins the fields of a flight that name who waits for it (``scripts/flight.lua``).
_WAKE: Final = b"wake "


class Slot(Struct, frozen=True):
    """The place of one answer.

    Args:
        kind: ``answer``: of the response cache; ``once``: of an ``Idempotency-Key``.
        tag: of the tenant.
        digest: of everything that makes two requests the same, hexadecimal; it differs between the kinds.
    """

    kind: Literal["answer", "once"]
    tag: str
    digest: str

    @property
    def value_key(self) -> str:
        """Where the answer is kept."""
        return keys.once(self.tag, self.digest) if self.kind == "once" else keys.answer(self.tag, self.digest)

    @property
    def flight_key(self) -> str:
        """Where it is kept who makes it."""
        return keys.flight(self.tag, self.digest)


class Hit(Struct, frozen=True):
    """The answer is there.

    Args:
        value: as it was landed.
        age_s: since then.
    """

    value: bytes
    age_s: float


class Large(Struct, frozen=True):
    """An answer is there that has to be read by ``fetch_large``: it is large, or what came of it cannot be read.

    Args:
        age_s: since it was stored.
    """

    age_s: float


class Lead(Struct, frozen=True):
    """The request makes the answer itself, and has to ``land_flight`` in any case."""


class Follow(Struct, frozen=True):
    """Another request is making the answer; join again when woken, or when its lease may have run out.

    Args:
        leader: its id.
    """

    leader: str


class Reused(Struct, frozen=True):
    """The slot belongs to another request: an ``Idempotency-Key`` that was used before, with another body."""


Join: TypeAlias = Hit | Large | Lead | Follow | Reused


def join_flight(
    slot: Slot, request_id: str, *, channel: str, fingerprint: bytes, max_age_s: float | None
) -> ScriptCall:
    """The script that joins a slot, to be sent beside the admission; ``read_join`` reads its reply.

    Args:
        slot: where the answer is.
        request_id: unique; a second call of the leader's id leads again.
        channel: on which this worker is woken (``Wakes.channel``); begin to expect the wake before this is sent.
        fingerprint: of the whole request, for a slot of the kind ``once``; else empty.
        max_age_s: an older answer is none; ``None``: any is good, 0: none is.
    """
    return ScriptCall(
        JOIN_FLIGHT,
        (slot.value_key, slot.flight_key),
        (
            request_id.encode(),
            channel,
            fingerprint.hex(),
            "-" if max_age_s is None else int(max_age_s * 1_000_000),
            _LEASE_US,
            keys.FLIGHT_TTL_S,
            LARGE_BYTES,
        ),
    )


def read_join(reply: Reply) -> Join:
    """What became of a request that joined.

    Args:
        reply: that of ``join_flight`` in its pipeline.

    Raises:
        StateError: the reply is one, or cannot be read.
    """
    if isinstance(reply, StateError):
        raise reply
    try:
        return _read_join(*reply[1:])
    except (ValueError, TypeError, AttributeError):
        raise StateError("The state store answered who makes an answer with what cannot be read.") from None


def _read_join(what: bytes, *facts: Any) -> Join:
    match what, facts:
        case b"hit", (age_us, packed):
            value = codec.unpack(packed)
            return Large(age_us / 1_000_000) if value is None else Hit(value, age_us / 1_000_000)
        case b"large", (age_us,):
            return Large(age_us / 1_000_000)
        case b"follow", (leader,):
            return Follow(leader.decode(errors="replace"))  # damaged, it leads until its lease runs out
        case b"reused", ():
            return Reused()
        case b"lead", ():
            return Lead()
    raise ValueError(what)


async def fetch_large(state: StateConnection, slot: Slot) -> bytes | None:
    """Reads an answer that ``join_flight`` has found and not brought along.

    Returns:
        The answer; ``None`` when it is gone by now, or could not be read and was deleted: join again.

    Raises:
        StateError: the store did not answer.
    """
    stored: bytes | None = await state.call("GET", slot.value_key, large=True)
    if stored is None:
        return None
    value = codec.unpack(stored.partition(b"\n")[2])
    if value is None:
        await state.call("DEL", slot.value_key)
    return value


async def land_flight(
    state: StateConnection, slot: Slot, leader: str, *, value: bytes | None, fingerprint: bytes, ttl_s: int
) -> bool:
    """Ends a flight: the answer is stored, and everybody who waits is woken (``wake <digest>``). May be repeated.

    A whole answer is stored also when the flight was lost or taken over meanwhile; the first one stays where it is that
    of an ``Idempotency-Key``, as clients have been given it.

    Args:
        state: the store.
        slot: where the answer is.
        leader: id of the request that made it, which must not renew any more.
        value: the answer; ``None``: there is none, and somebody else may try.
        fingerprint: as it was joined with.
        ttl_s: seconds that the answer is kept.

    Returns:
        Whether the flight was still the leader's.

    Raises:
        StateError: the store did not answer, or refused it; the flight ends by itself when its lease runs out.
    """
    reply = await state.run_script(
        LAND_FLIGHT,
        (slot.value_key, slot.flight_key),
        (
            leader.encode(),
            b"" if value is None else codec.pack(value),
            fingerprint.hex(),
            ttl_s,
            int(slot.kind == "once"),
            f"wake {slot.digest}",
        ),
    )
    return bool(reply[1] == b"landed")


async def renew_flight(state: StateConnection, slot: Slot, leader: str, *, fingerprint: bytes) -> bool:
    """Prolongs the lease of a leader, and puts its flight back if that was lost and nobody else leads.

    Args:
        state: the store.
        slot: where the answer will be.
        leader: id of the request.
        fingerprint: as it was joined with.

    Returns:
        Whether the request leads; ``False`` once another does.

    Raises:
        StateError: it was not prolonged; the next turn may put it back.
    """
    reply = await state.run_script(
        RENEW_FLIGHT, (slot.flight_key,), (leader.encode(), fingerprint.hex(), _LEASE_US, keys.FLIGHT_TTL_S)
    )
    return bool(reply[1] == b"renewed")


async def is_followed(state: StateConnection, slot: Slot) -> bool:
    """Whether a worker waits for the flight of a slot.

    Raises:
        StateError: the store did not answer.
    """
    fields: list[bytes] = await state.call("HKEYS", slot.flight_key)
    return any(field.startswith(_WAKE) for field in fields)


async def unfollow(state: StateConnection, slot: Slot, *, channel: str) -> None:
    """A worker does not wait for a flight any more.

    Args:
        state: the store.
        slot: of the flight.
        channel: of the worker, as it was joined with.

    Raises:
        StateError: it may still count as waiting.
    """
    await state.call("HDEL", slot.flight_key, _WAKE + channel.encode())


def jittered_ttl(ttl_s: int, random: Callable[[], float]) -> int:
    """A time to live of 90 to 100 % of ``ttl_s``, at least 1 second.

    Args:
        ttl_s: seconds.
        random: makes a number from 0 up to 1.
    """
    return max(1, ttl_s - int(ttl_s * JITTER * random()))

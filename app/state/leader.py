"""Who evaluates alerts: one of all workers and monitors that share the store, by a lease.

Every candidate asks again and again; the holder keeps the lease by asking, and whoever comes first after it ran out
gets it. A holder that is killed is replaced within ``keys.LEADER_TTL_S`` and one turn of a candidate.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from app.state import keys
from app.state.connection import StateConnection
from app.state.scripts import load_script

#: A holder that is gone keeps the lead for so long.
LEAD_TTL_S: Final = keys.LEADER_TTL_S
LEAD = load_script("lead")
RESIGN = load_script("resign")

#: How often a candidate asks and a holder renews: three turns within the lease.
LEAD_INTERVAL_S: Final = 3.0


class Lead(Struct, frozen=True):
    """The answer to a candidate.

    Args:
        is_held: the lead is theirs, for ``keys.LEADER_TTL_S`` from now.
        is_new: it was not before: somebody else may have had it meanwhile.
        at: Unix seconds of the store's clock.
    """

    is_held: bool
    is_new: bool
    at: float


async def lead(state: StateConnection, token: str) -> Lead:
    """Takes the lead where nobody has it, and prolongs it where it is the candidate's; one round trip.

    Args:
        state: the store.
        token: names the candidate; nobody else's.

    Raises:
        StateError: the store did not answer; nobody knows who leads.
    """
    held, seconds, micros = await state.run_script(LEAD, (keys.LEADER,), (token, keys.LEADER_TTL_S))
    return Lead(held > 0, held == 1, int(seconds) + int(micros) / 1_000_000)


async def resign(state: StateConnection, token: str) -> None:
    """Gives the lead back, if it is the candidate's.

    Raises:
        StateError: the store did not answer; the lease runs out by itself.
    """
    await state.run_script(RESIGN, (keys.LEADER,), (token,))

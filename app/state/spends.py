"""What many accounts have spent, read from the limiter's ledger: a small script for each, many in a round trip.

``app.state.usage`` reads everything about one account and costs ten times as much. Source: DESIGN.md section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from app.domain.auth import ApiKey
from app.errors import StateError, StateUnavailable
from app.state import keys
from app.state.api_keys import decode_doc
from app.state.connection import Reply, StateConnection
from app.state.limits import Account
from app.state.scripts import ScriptCall, load_script

READ_SPEND: Final = load_script("read_spend", after="ledger", echoes=True)

#: Accounts of one round trip.
_AT_ONCE: Final = 200


class Spend(Struct, frozen=True, kw_only=True):
    """What an account has spent, in nano-dollars.

    Args:
        day_nano: today (UTC).
        month_nano: in this month.
        total_nano: in all.
        record: the stored key, where there is one.
    """

    day_nano: int
    month_nano: int
    total_nano: int
    record: ApiKey | None = None


async def read_spends(
    state: StateConnection, accounts: Sequence[Account], *, new_id: Callable[[], str]
) -> list[Spend | None]:
    """What each account has spent, in their order; ``None`` where that cannot be read.

    Args:
        state: the store.
        accounts: keys; for tenants ``TENANT`` of ``app.state.limits`` as their ids.
        new_id: makes unique ids of calls; the replies are checked for them.

    Raises:
        StateUnavailable: no answer in time.
    """
    spends: list[Spend | None] = []
    for first in range(0, len(accounts), _AT_ONCE):
        calls = [
            ScriptCall(
                READ_SPEND,
                (keys.spend(account.tag, account.key_id), keys.api_key(account.tag, account.key_id)),
                (new_id().encode(),),
            )
            for account in accounts[first : first + _AT_ONCE]
        ]
        spends += [_spend(reply) for reply in await state.pipeline(calls, large=True)]
    return spends


def _spend(reply: Reply | StateError) -> Spend | None:
    if isinstance(reply, StateUnavailable):
        raise reply
    if isinstance(reply, StateError):
        return None
    _, day, month, in_all, document = reply
    try:
        record = decode_doc(document) if document else None
    except StateError:
        return None
    return Spend(day_nano=day, month_nano=month, total_nano=in_all, record=record)

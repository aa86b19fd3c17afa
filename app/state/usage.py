"""How an account stands and what it has used by day, read from the limiter's ledger in one round trip.

One script reads everything at one moment of the server's clock: what ``app.state.limits`` has written, as the next
admission would see it. Source: DESIGN.md section 3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from app.domain.limits import Gauge, Limits
from app.domain.usage_report import AccountReading, Counts, Standing
from app.state import keys
from app.state.api_keys import decode_doc
from app.state.connection import StateConnection
from app.state.limit_words import limit_words
from app.state.limits import LEASE_S, Account
from app.state.scripts import load_script

READ_ACCOUNT: Final = load_script("read_account", after="ledger", echoes=True)

#: From here on the usage, some 300 bytes a day and model, is a large reply.
_MANY_DAYS: Final = 10

#: Classes of a day's usage, as ``ledger.lua`` names them, and what they are here.
_CLASSES: Final = {
    b"requests": "requests",
    b"hits": "cache_hits",
    b"input": "input_tokens",
    b"cache_read": "cache_read_tokens",
    b"cache_write": "cache_write_tokens",
    b"output": "output_tokens",
    b"cost": "nano",
    b"estimated": "estimated_nano",
}

_WHOLE_NUMBER: Final = re.compile(rb"-?[0-9]{1,18}")


async def read_account(
    state: StateConnection, call_id: str, account: Account, *, own: Limits, tenant: Limits, days: int
) -> AccountReading:
    """How a key and its tenant stand now, and what the key has used on the last days.

    Args:
        state: the store.
        call_id: unique; the reply is checked for it.
        account: the key; for a tenant alone ``TENANT`` of ``app.state.limits`` as its id.
        own: limits of the key.
        tenant: limits of the tenant.
        days: how many, today among them.

    Raises:
        StateUnavailable: no answer in time.
        StateError: the store refused the script, or the stored key cannot be read.
    """
    tag, key_id = account.tag, account.key_id
    _, of_key, of_tenant, document, today, used = await state.run_script(
        READ_ACCOUNT,
        (keys.lease(tag, ""), *keys.account(tag, key_id), keys.api_key(tag, key_id)),
        (
            call_id.encode(),
            key_id,
            limit_words(own),
            limit_words(tenant),
            days,
            keys.STATE_TTL_S,
            keys.SPEND_TTL_S,
            keys.USAGE_TTL_S,
            round(LEASE_S * 1_000_000),
        ),
        large=days > _MANY_DAYS,
    )
    return AccountReading(
        key=_standing(own, of_key),
        tenant=_standing(tenant, of_tenant),
        record=decode_doc(document) if document else None,
        today=today,
        days=tuple(_models(flat) for flat in used),
    )


def _standing(limits: Limits, numbers: Sequence[int]) -> Standing:
    live, day, of_day, month, of_month, total, reserved, *rates = numbers
    return Standing(
        limits=limits,
        requests=_gauge(limits.requests_per_minute, *rates[0:2]),
        input_tokens=_gauge(limits.input_tokens_per_minute, *rates[2:4]),
        output_tokens=_gauge(limits.output_tokens_per_minute, *rates[4:6]),
        in_flight=live,
        day=day,
        day_nano=of_day,
        month=month,
        month_nano=of_month,
        total_nano=total,
        reserved_nano=reserved,
    )


def _gauge(limit: int | None, left: int, full_us: int) -> Gauge | None:
    return None if limit is None else Gauge(limit=limit, left=left, full_in_s=full_us / 1_000_000)


def _models(flat: Sequence[bytes]) -> dict[str, Counts]:
    """Usage of a day by model; what cannot be read, such as a class of another release, is left out."""
    models: dict[str, dict[str, int]] = {}
    for name, count in zip(flat[::2], flat[1::2], strict=True):
        model, _, word = name.rpartition(b" ")
        if (field := _CLASSES.get(word)) is not None and _WHOLE_NUMBER.fullmatch(count):
            models.setdefault(model.decode(errors="replace"), {})[field] = int(count)
    return {model: Counts(**fields) for model, fields in models.items()}

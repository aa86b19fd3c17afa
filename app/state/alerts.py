"""The book of alerts in the store: read by everybody, written by the leader alone."""

from __future__ import annotations

import msgspec

from app.domain.alert_book import AlertBook
from app.state import keys
from app.state.connection import StateConnection
from app.state.error_replies import WrongType
from app.state.scripts import load_script
from app.state.unreadable import UNREADABLE

WRITE_ALERTS = load_script("write_alerts")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AlertBook).decode


async def read_alerts(state: StateConnection) -> AlertBook:
    """How all alerts stand; an empty book where nobody has evaluated yet, or what is kept cannot be read.

    Raises:
        StateError: the store did not answer.
    """
    return await kept_alerts(state) or AlertBook()


async def kept_alerts(state: StateConnection) -> AlertBook | None:
    """The book, or ``None`` where there is none: the store may have forgotten it.

    Raises:
        StateError: the store did not answer.
    """
    try:
        kept = await state.call("GET", keys.ALERTS, large=True)
        return None if kept is None else _decode(kept)
    except (WrongType, *UNREADABLE):
        return None


async def write_alerts(state: StateConnection, book: AlertBook, *, token: str) -> bool:
    """Keeps the book for ``keys.ALERTS_TTL_S``, if the writer still has the lead.

    Args:
        state: the store.
        book: the book.
        token: by which the writer took the lead.

    Returns:
        Whether it was written; otherwise another one leads.

    Raises:
        StateError: the store did not answer; it may have been written.
    """
    written = await state.run_script(
        WRITE_ALERTS, (keys.LEADER, keys.ALERTS), (token, _encode(book), keys.ALERTS_TTL_S)
    )
    return bool(written == 1)

"""Who has which slot of the board: the bookkeeping of the master, which alone knows who lives.

A worker that has gone is added to the departed exactly once, and its slot is free then. One write does both, as the
departed say up to which worker of a slot they are; so a scrape sees a worker either in its slot or among them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import msgspec
from msgspec import Struct

from app.observability.board import BoardFull, MetricsBoard
from app.observability.totals import (
    DEPARTED_SLOT,
    DepartedTotals,
    add_up,
    encode,
    read_departed,
    read_worker,
)

log = logging.getLogger(__name__)


class Seat(Struct, frozen=True, kw_only=True):
    """The place of one worker.

    Args:
        board: what all workers of the gateway share.
        slot: its own; ``None``: there was none, and its figures are shown nowhere.
        age: gunicorn's number of the worker.
    """

    board: MetricsBoard
    slot: int | None
    age: int

    @property
    def label(self) -> str:
        """What the worker is called in metrics: one of a few names, which its successor takes over."""
        return str(self.slot or 0)


def only_seat() -> Seat:
    """The place of a worker that has no master: a board of its own."""
    return Seat(board=MetricsBoard(2), slot=1, age=1)


class Seats:
    """The slots of a board and who has them.

    Args:
        board: slot 0 is that of the departed.
    """

    def __init__(self, board: MetricsBoard) -> None:
        self._board = board
        self._taken: dict[int, int] = {}

    def assign(self, age: int) -> Seat:
        """A place for the worker that is about to be started."""
        free = (slot for slot in range(DEPARTED_SLOT + 1, self._board.slots) if slot not in self._taken)
        slot = next(free, None)
        if slot is None:
            log.warning("The figures of one worker are missing from /metrics: too many older ones have not ended yet.")
        else:
            self._taken[slot] = age
        return Seat(board=self._board, slot=slot, age=age)

    def free(self, living: Collection[int]) -> None:
        """Keeps the counts of workers that have gone, and frees their slots.

        Args:
            living: ages of the workers whose processes exist.
        """
        gone = {slot: age for slot, age in self._taken.items() if age not in living}
        if not gone:
            return
        try:
            self._fold(gone)
        except (BoardFull, msgspec.DecodeError):
            log.exception("The figures of workers that have gone are missing from /metrics.")
        for slot in gone:
            del self._taken[slot]

    def _fold(self, gone: Mapping[int, int]) -> None:
        departed = read_departed(self._board.read(DEPARTED_SLOT))
        left = [read_worker(self._board.read(slot)) for slot in gone]
        # Its slot may still hold its predecessor, where a worker has ended before it wrote anything.
        counted = [one for one, age in zip(left, gone.values(), strict=True) if one is not None and one.age == age]
        total = add_up([departed, *counted])
        folded = {**departed.folded, **gone}
        self._board.write(
            DEPARTED_SLOT,
            encode(DepartedTotals(counters=total.counters, histograms=total.histograms, folded=folded)),
        )

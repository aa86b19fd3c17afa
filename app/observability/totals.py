"""What workers of one gateway have counted since it was started, and how it is added up; pure but for the coding.

Counts of workers that have gone are kept together, so that those of the gateway never fall; gauges go with their
worker. Slot 0 of the board (``board.py``) holds the departed, which the master writes (``seats.py``); every other slot
holds one worker, which writes itself (``handover.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import add
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from app.domain.credentials import CredentialFigures, together
from app.observability.catalog import Labels

#: By metric and labels.
Counters: TypeAlias = dict[str, dict[Labels, int]]
#: By metric and labels: counts by bucket of ``app.domain.histograms``, and the sum in nanoseconds. Whole numbers, as
#: fractions may add up to a little less in another order, such as when a worker has gone: Prometheus takes what falls
#: for a restart.
Histograms: TypeAlias = dict[str, dict[Labels, tuple[list[int], int]]]
#: By metric and labels.
Gauges: TypeAlias = Mapping[str, Mapping[Labels, float]]

NANOSECONDS: Final = 10**9

#: The slot of those that have gone.
DEPARTED_SLOT: Final = 0


class Counted(Struct, kw_only=True):
    """Counts of whomever."""

    counters: Counters = {}
    histograms: Histograms = {}


class WorkerTotals(Counted, kw_only=True):
    """One worker.

    Args:
        age: gunicorn's number of it: another worker in the same slot has a higher one.
        gauges: how it is doing.
        credentials: the gateway's own Anthropic credentials, as it has seen them.
    """

    age: int
    gauges: Gauges = {}
    credentials: tuple[CredentialFigures, ...] = ()


class DepartedTotals(Counted, kw_only=True):
    """The workers that have gone.

    Args:
        folded: slot -> age of the last worker of that slot whose counts are in here.
    """

    folded: dict[int, int] = {}


class PodTotals(Counted, kw_only=True):
    """All workers of one gateway: counts also of those that have gone, the rest of those that live."""

    gauges: Gauges = {}
    credentials: tuple[CredentialFigures, ...] = ()


encode = msgspec.msgpack.Encoder().encode
_decode_worker = msgspec.msgpack.Decoder(WorkerTotals).decode
_decode_departed = msgspec.msgpack.Decoder(DepartedTotals).decode


def read_worker(content: bytes) -> WorkerTotals | None:
    """A worker's slot; ``None`` where it is empty.

    Raises:
        msgspec.DecodeError: a bug; whoever writes has the code of whoever reads, from before they were forked.
    """
    return _decode_worker(content) if content else None


def read_departed(content: bytes) -> DepartedTotals:
    """The slot of those that have gone; nobody where it is empty."""
    return _decode_departed(content) if content else DepartedTotals()


def add_up(parts: Iterable[Counted]) -> Counted:
    """The counts of several together; the parts stay as they are."""
    counters: Counters = {}
    histograms: Histograms = {}
    for part in parts:
        for name, counts in part.counters.items():
            sums = counters.setdefault(name, {})
            for labels, count in counts.items():
                sums[labels] = sums.get(labels, 0) + count
        for name, times in part.histograms.items():
            totals = histograms.setdefault(name, {})
            for labels, (buckets, total_ns) in times.items():
                if labels in totals:
                    so_far, so_far_ns = totals[labels]
                    buckets, total_ns = list(map(add, so_far, buckets)), so_far_ns + total_ns
                totals[labels] = buckets, total_ns
    return Counted(counters=counters, histograms=histograms)


def pod_totals(contents: Sequence[bytes]) -> PodTotals:
    """All workers together.

    Args:
        contents: of every slot of the board, of one moment.
    """
    departed = read_departed(contents[DEPARTED_SLOT])
    alive = [
        totals
        for slot, content in enumerate(contents)
        if slot != DEPARTED_SLOT
        and (totals := read_worker(content)) is not None
        and totals.age > departed.folded.get(slot, 0)
    ]
    counted = add_up([departed, *alive])
    gauges: dict[str, dict[Labels, float]] = {}
    for totals in alive:
        for name, values in totals.gauges.items():
            gauges.setdefault(name, {}).update(values)
    return PodTotals(
        counters=counted.counters,
        histograms=counted.histograms,
        gauges=gauges,
        credentials=together(one for totals in alive for one in totals.credentials),
    )

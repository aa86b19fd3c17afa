"""Figures of several workers together: counts of those that have gone stay, their gauges do not."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.domain.credentials import CredentialFigures
from app.observability.totals import (
    NANOSECONDS,
    Counted,
    DepartedTotals,
    WorkerTotals,
    add_up,
    encode,
    pod_totals,
    read_departed,
    read_worker,
)

LABELS = st.tuples(st.sampled_from("ab"), st.sampled_from("xy"))
COUNTED = st.builds(
    Counted,
    counters=st.dictionaries(st.sampled_from(["one", "two"]), st.dictionaries(LABELS, st.integers(0, 2**60))),
    histograms=st.dictionaries(
        st.sampled_from(["three"]),
        st.dictionaries(LABELS, st.tuples(st.lists(st.integers(0, 99), min_size=4, max_size=4), st.integers(0, 2**60))),
    ),
)


def worker(age: int, requests: int, **fields: object) -> WorkerTotals:
    return WorkerTotals(age=age, counters={"requests": {("200",): requests}}, **fields)  # type: ignore[arg-type]


def requests_of(*contents: bytes) -> int:
    return pod_totals(contents).counters["requests"]["200",]


@given(st.lists(COUNTED, max_size=5))
def test_every_count_is_the_sum_of_the_parts(parts: list[Counted]) -> None:
    before = encode(parts)
    total = add_up(parts)
    expected: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for part in parts:
        for name, values in part.counters.items():
            expected.update({(name, labels): count for labels, count in values.items()})
        for name, times in part.histograms.items():
            expected.update({(name, labels): sum(counts) for labels, (counts, _) in times.items()})
    found = {(name, labels): count for name, values in total.counters.items() for labels, count in values.items()}
    found |= {
        (name, labels): sum(counts) for name, times in total.histograms.items() for labels, (counts, _) in times.items()
    }
    assert found == dict(expected)
    assert encode(parts) == before


@given(st.permutations([0.1, 0.2, 0.3, 1e-9, 7.7, 123.456]))
def test_a_sum_of_times_does_not_depend_on_the_order(seconds: list[float]) -> None:
    parts = [Counted(histograms={"time": {(): ([1], int(one * NANOSECONDS))}}) for one in seconds]
    in_two = add_up([add_up(parts[:3]), add_up(parts[3:])])
    assert in_two == add_up(sorted(parts, key=lambda part: part.histograms["time"][()][1]))


def test_times_are_added_up_by_bucket() -> None:
    one = Counted(histograms={"time": {(): ([1, 0, 2], 15)}})
    other = Counted(histograms={"time": {(): ([0, 5, 1], 20)}})
    assert add_up([one, other]).histograms == {"time": {(): ([1, 5, 3], 35)}}


def test_what_was_coded_is_read_again() -> None:
    credential = CredentialFigures(label="0123abcd", status="failing")
    totals = worker(7, 2**60, gauges={"memory": {("1",): 1.5}}, credentials=(credential,))
    assert encode(read_worker(encode(totals))) == encode(totals)
    departed = DepartedTotals(folded={1: 7}, histograms={"time": {("a", "b"): ([1, 2], 5)}})
    assert encode(read_departed(encode(departed))) == encode(departed)


def test_a_worker_that_has_written_nothing_is_not_there() -> None:
    assert read_worker(b"") is None
    assert read_departed(b"") == DepartedTotals()


def test_a_gateway_counts_its_workers_and_those_that_have_gone() -> None:
    departed = encode(DepartedTotals(counters={"requests": {("200",): 10}}, folded={1: 1, 2: 2}))
    assert requests_of(departed, encode(worker(3, 5)), encode(worker(4, 7))) == 22


def test_a_worker_that_was_added_to_the_departed_is_not_counted_in_its_slot_again() -> None:
    departed = encode(DepartedTotals(counters={"requests": {("200",): 10}}, folded={1: 3}))
    assert requests_of(departed, encode(worker(3, 10))) == 10
    assert requests_of(departed, encode(worker(4, 1))) == 11


def test_gauges_are_those_of_the_living() -> None:
    departed = encode(DepartedTotals(folded={1: 1}))
    gone = worker(1, 0, gauges={"memory": {("1",): 1.0}}, credentials=(CredentialFigures(label="a", calls=1),))
    others = [worker(age, 0, gauges={"memory": {(str(age),): 2.0}}) for age in (2, 3)]
    pod = pod_totals([departed, encode(gone), *map(encode, others)])
    assert pod.gauges == {"memory": {("2",): 2.0, ("3",): 2.0}}
    assert pod.credentials == ()


def test_credentials_are_what_all_workers_have_seen() -> None:
    seen = CredentialFigures(label="a", calls=2)
    pod = pod_totals([b"", *(encode(worker(age, 0, credentials=(seen,))) for age in (1, 2))])
    assert [(one.label, one.calls) for one in pod.credentials] == [("a", 4)]


def test_a_board_that_is_new_counts_nothing() -> None:
    pod = pod_totals([b"", b"", b""])
    assert (pod.counters, pod.histograms, pod.gauges) == ({}, {}, {})

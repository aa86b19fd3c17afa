"""What several workers have seen of the gateway's own credentials, put together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.domain.credentials import CredentialFigures, RateLeft, together

SEEN = st.builds(
    CredentialFigures,
    label=st.sampled_from(["a", "b", "c"]),
    status=st.sampled_from(["ok", "failing", "limited"]),
    calls=st.integers(0, 2**40),
    refused=st.integers(0, 2**40),
    limited=st.integers(0, 2**40),
    seen_at=st.floats(0, 2e9),
)


def rates(remaining: int) -> tuple[RateLeft, ...]:
    return (RateLeft(name="requests", limit=100, remaining=remaining),)


def test_what_was_seen_last_is_how_it_is() -> None:
    before = CredentialFigures(label="a", status="failing", since_at=10.0, seen_at=20.0, calls=3, refused=3)
    after = CredentialFigures(label="a", status="ok", since_at=25.0, seen_at=30.0, calls=2)
    for order in ([before, after], [after, before]):
        (merged,) = together(order)
        assert (merged.status, merged.since_at, merged.seen_at) == ("ok", 25.0, 30.0)
        assert (merged.calls, merged.refused) == (5, 3)


def test_a_worker_that_has_called_nobody_says_nothing() -> None:
    failing = CredentialFigures(label="a", status="failing", since_at=10.0, seen_at=20.0, calls=1, refused=1)
    assert together([failing, CredentialFigures(label="a")]) == (failing,)


def test_what_is_left_is_what_was_read_last_whoever_called_last() -> None:
    early = CredentialFigures(label="a", seen_at=50.0, rates=rates(10), rates_at=40.0)
    late = CredentialFigures(label="a", seen_at=45.0, rates=rates(90), rates_at=45.0)
    (merged,) = together([early, late])
    assert (merged.rates, merged.rates_at, merged.seen_at) == (rates(90), 45.0, 50.0)


def test_credentials_are_told_apart_and_in_the_order_of_their_labels() -> None:
    seen = [CredentialFigures(label=label, calls=1) for label in ("b", "a", "b")]
    assert [(one.label, one.calls) for one in together(seen)] == [("a", 1), ("b", 2)]
    assert together([]) == ()


@given(st.lists(SEEN, max_size=8), st.integers(0, 8))
def test_the_parts_may_be_put_together_in_any_groups(seen: list[CredentialFigures], cut: int) -> None:
    grouped = together([*together(seen[:cut]), *together(seen[cut:])])
    counts = [(one.label, one.calls, one.refused, one.limited, one.seen_at) for one in grouped]
    assert counts == [(one.label, one.calls, one.refused, one.limited, one.seen_at) for one in together(seen)]


def test_what_is_left_is_a_share_of_the_limit() -> None:
    assert RateLeft(name="tokens", limit=200, remaining=50).share == 0.25
    assert RateLeft(name="tokens", limit=200, remaining=300).share == 1.0
    assert RateLeft(name="tokens", limit=0, remaining=0).share == 0.0

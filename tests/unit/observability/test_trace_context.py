"""W3C Trace Context: what is read, what goes out, and what is ignored."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.observability.trace_context import Parent, TraceContext, begin_trace, members_of, read_parent, read_state

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{SPAN}-01".encode()
PARENT = Parent(int(TRACE, 16), int(SPAN, 16), sampled=True)


def begin(*headers: tuple[bytes, bytes], sample: float = 1.0, bits: Callable[[int], int] | None = None) -> TraceContext:
    return begin_trace([(b"host", b"a"), *headers], sample=sample, bits=bits or Random(1).getrandbits)


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        b" " + HEADER + b"\t",
        HEADER[:-2] + b"03",  # a flag of level 2
        HEADER[:-2] + b"ff",
        b"cc" + HEADER[2:],  # a version to come
        b"cc" + HEADER[2:] + b"-what-will-be",
    ],
)
def test_a_valid_header_is_read(header: bytes) -> None:
    assert read_parent(header) == PARENT


def test_a_header_may_say_that_nothing_is_sampled() -> None:
    assert read_parent(HEADER[:-2] + b"00") == PARENT._replace(sampled=False)
    assert read_parent(HEADER[:-2] + b"02") == PARENT._replace(sampled=False)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00",
        HEADER[:-1],
        HEADER + b"0",
        HEADER + b"-more",  # version 00 has no more
        b"cc" + HEADER[2:] + b".more",
        b"ff" + HEADER[2:],
        HEADER.upper(),
        HEADER.replace(b"-", b"_"),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"0x-{TRACE}-{SPAN}-01".encode(),
        b"00-" + b"\xe9" * 32 + HEADER[35:],
    ],
)
def test_an_invalid_header_is_ignored(header: bytes) -> None:
    assert read_parent(header) is None
    context = begin((b"traceparent", header), (b"tracestate", b"a=1"))
    assert (context.parent_span_id, context.state) == (0, "")
    assert context.trace_id != int(TRACE, 16)


@given(st.binary(max_size=70))
def test_no_header_fails(header: bytes) -> None:
    assert read_parent(header) is None
    read_state([header])


def test_two_headers_are_none() -> None:
    assert begin((b"traceparent", HEADER), (b"traceparent", HEADER)).parent_span_id == 0


def test_the_trace_of_the_client_goes_on_under_a_span_of_ours() -> None:
    context = begin((b"traceparent", HEADER), (b"tracestate", b"a=1"), (b"tracestate", b"b=2"), sample=0.0)
    assert (context.trace_id, context.parent_span_id, context.sampled) == (PARENT.trace_id, PARENT.span_id, True)
    assert len({context.span_id, context.call_span_id, context.parent_span_id}) == 3
    assert context.outgoing() == {
        "traceparent": f"00-{TRACE}-{context.call_span_id:016x}-01",
        "tracestate": "a=1,b=2",
    }


def test_a_client_that_does_not_sample_decides_for_us() -> None:
    context = begin((b"traceparent", HEADER[:-1] + b"0"), sample=1.0)
    assert not context.sampled
    assert context.outgoing()["traceparent"].endswith("-00")


@pytest.mark.parametrize("sample", [0.0, 0.25, 1.0])
def test_a_share_of_the_new_traces_is_sampled(sample: float) -> None:
    bits = Random(7).getrandbits
    sampled = sum(begin(sample=sample, bits=bits).sampled for _ in range(2000))
    assert abs(sampled / 2000 - sample) < 0.05
    assert sample or not sampled
    assert sample < 1 or sampled == 2000


def test_ids_are_never_zero() -> None:
    def zero(_: int) -> int:
        return 0

    context = begin(bits=zero)
    assert (context.trace_id, context.span_id, context.call_span_id) == (1, 1, 1)
    context = begin((b"traceparent", HEADER), bits=zero)
    assert (context.span_id, context.call_span_id) == (1, 1)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_goes_out_can_be_read(trace_id: int, call_id: int, sampled: bool) -> None:
    sent = TraceContext(trace_id, 1, call_id, sampled=sampled).outgoing()
    assert read_parent(sent["traceparent"].encode()) == Parent(trace_id, call_id, sampled)
    assert "tracestate" not in sent


@pytest.mark.parametrize(
    ("headers", "state"),
    [
        ([b"a=1"], "a=1"),
        ([b"a=1 , b=2\t,,", b"", b"c@d=3 4"], "a=1,b=2,c@d=3 4"),
        ([b"a*/-_9=!"], "a*/-_9=!"),
        ([b",".join(b"k%d=v" % number for number in range(32))], ",".join(f"k{number}=v" for number in range(32))),
        # Not valid: as a whole they say nothing.
        ([], ""),
        ([b" , "], ""),
        ([b"a"], ""),
        ([b"=1"], ""),
        ([b"a="], ""),
        ([b"A=1"], ""),
        ([b"a=1,a=2"], ""),
        ([b"a=1=2"], ""),
        ([b"a=\xe9"], ""),
        ([b",".join(b"k%d=v" % number for number in range(33))], ""),
        ([b"a=" + b"x" * 257], ""),
        ([b"a=" + b"x" * 250 + b",b=" + b"x" * 250 + b",c=123456"], ""),  # longer than has to be passed on
    ],
)
def test_the_state_of_others_is_passed_on_where_it_is_valid(headers: list[bytes], state: str) -> None:
    assert read_state(headers) == state
    assert dict(member.split("=") for member in state.split(",") if state) == members_of(state)


def test_a_settlement_is_on_its_way_until_the_store_answers() -> None:
    context = begin()
    assert not context.is_settling
    context.settling(10.0)
    assert context.is_settling
    context.settled(11.0, made=False)
    assert (context.is_settling, context.is_settled) == (False, False)
    context.settling(12.0)  # once more
    context.settled(13.0, made=True)
    assert (context.settling_at, context.settled_at, context.is_settled) == (10.0, 13.0, True)

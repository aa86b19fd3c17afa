from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadUpstreamReply
from app.schemas.sse import EventCutter, event_data, frame
from tests.support.anthropic_stream import cut


def data_of(*chunks: bytes) -> list[bytes]:
    cutter = EventCutter()
    return [event_data(event) for chunk in chunks for event in cutter.feed(chunk)]


def test_a_frame_is_one_data_line_and_an_empty_one() -> None:
    assert frame(b"{}") == b"data: {}\n\n"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_at_lf_crlf_or_cr(line_end: bytes) -> None:
    assert data_of(b"event: a\ndata: 1\n\ndata: 2\n\n".replace(b"\n", line_end)) == [b"1", b"2"]


def test_line_ends_may_be_mixed() -> None:
    assert data_of(b"data: 1\r\n\ndata: 2\n\r\ndata: 3\r\r\n") == [b"1", b"2", b"3"]


def test_a_crlf_cut_in_the_middle_is_one_line_end() -> None:
    assert data_of(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [b"a\nb"]


def test_a_cr_at_the_end_of_a_chunk_ends_the_event_at_once() -> None:
    assert data_of(b"data: a\r\r") == [b"a"]


def test_an_lf_of_its_own_after_a_cr_is_an_empty_line_only_in_its_own_right() -> None:
    assert data_of(b"data: a\r", b"\n", b"data: b\n\n") == [b"a\nb"]


def test_other_unicode_separators_do_not_end_a_line() -> None:
    text = "a\u2028b\u2029c\x0bd\x0ce\x1cf\x1dg\x1eh\x85i".encode()
    assert data_of(b"data: " + text + b"\n\n") == [text]


def test_a_byte_order_mark_at_the_start_is_not_data() -> None:
    assert data_of(b"\xef\xbb", b"\xbfdata: 1\n\n") == [b"1"]


def test_comments_and_unknown_fields_have_no_data() -> None:
    assert data_of(b": ping\n\nid: 7\nretry: 3\n\nevent: ping\n\n") == [b"", b"", b""]


def test_several_data_lines_are_joined_with_lf() -> None:
    assert data_of(b"event: a\ndata: {\ndata: }\nid: 4\n\n") == [b"{\n}"]


def test_one_space_after_the_colon_is_not_data() -> None:
    assert data_of(b"data:1\n\ndata:  2\n\ndata\n\n") == [b"1", b" 2", b""]


def test_a_second_data_line_after_one_without_a_name_is_joined() -> None:
    assert data_of(b"data: 1\ndata: 2\n\n") == [b"1\n2"]


def test_empty_lines_between_events_are_skipped() -> None:
    assert [data for data in data_of(b"\n\n\nevent: a\ndata: 1\n\n\n\n\ndata: 2\n\n") if data] == [b"1", b"2"]


def test_an_event_without_its_end_is_kept_back() -> None:
    assert data_of(b"data: 1\n\ndata: 2\n") == [b"1"]


def test_a_stream_is_empty_until_a_byte_came() -> None:
    cutter = EventCutter()
    assert cutter.feed(b"") == []
    assert cutter.is_empty
    cutter.feed(b"x")
    assert not cutter.is_empty


def test_an_endless_event_is_refused_and_what_came_before_is_not() -> None:
    cutter = EventCutter(max_event_bytes=10)
    assert cutter.feed(b"data: 1\n\ndata: ") == [b"data: 1"]
    with pytest.raises(BadUpstreamReply):
        cutter.feed(b"x" * 10)


def test_an_event_larger_than_the_bound_passes_when_it_is_whole() -> None:
    assert EventCutter(max_event_bytes=10).feed(b"data: " + b"x" * 20 + b"\n\n") == [b"data: " + b"x" * 20]


@given(
    st.lists(
        st.sampled_from([b"data: \xc3\xa9", b"event: a", b"\r", b"\n", b"\r\n", b"\n\n", b": c", b"\r\r"]), max_size=30
    ),
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
)
def test_any_cut_of_the_bytes_gives_the_same_events(parts: list[bytes], sizes: list[int]) -> None:
    whole = b"".join(parts)
    assert [data for data in data_of(*cut(whole, sizes)) if data] == [data for data in data_of(whole) if data]

from __future__ import annotations

import pytest

from app.errors import BadUpstreamReply, UpstreamStatus, UpstreamUnreachable
from app.translate.upstream_events import UpstreamEvents
from tests.support.anthropic_stream import MESSAGE_STOP, block_delta, event, message_start, stream, text_stream


def kinds(events: UpstreamEvents, data: bytes) -> list[str]:
    return [type(one).__name__ for one in events.feed(data)]


def test_a_message_is_a_sequence_of_typed_events() -> None:
    events = UpstreamEvents()
    assert kinds(events, text_stream("a")) == [
        "MessageStart",
        "ContentBlockStart",
        "ContentBlockDelta",
        "ContentBlockStop",
        "MessageDelta",
        "MessageStop",
    ]
    assert events.stopped
    events.end()
    assert events.error is None


def test_what_is_not_known_is_skipped() -> None:
    events = UpstreamEvents()
    data = b": comment\n\nevent: ping\n\n" + event({"type": "weather"}) + stream([message_start()])
    data += event(block_delta(0, "scent_delta", scent="x"))
    assert kinds(events, data) == ["MessageStart"]
    assert events.error is None


def test_pings_may_come_at_any_time() -> None:
    events = UpstreamEvents()
    ping = event({"type": "ping"})
    assert kinds(events, ping + stream([message_start()]) + ping) == ["Ping", "MessageStart", "Ping"]


def test_nothing_is_read_after_the_end_of_the_message() -> None:
    events = UpstreamEvents()
    end = stream([message_start(), MESSAGE_STOP])
    assert kinds(events, end + b"data: [DONE]\n\n") == ["MessageStart", "MessageStop"]
    assert kinds(events, b"data: nonsense\n\n") == []
    assert events.error is None


def test_an_error_event_comes_after_the_events_before_it_and_ends_the_stream() -> None:
    events = UpstreamEvents()
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert kinds(events, stream([message_start()]) + event(error) + event(MESSAGE_STOP)) == ["MessageStart"]
    assert isinstance(events.error, UpstreamStatus)
    assert events.error.status == 529
    assert kinds(events, event(MESSAGE_STOP)) == []


@pytest.mark.parametrize(
    "nonsense",
    [
        b"data: not json\n\n",
        b"event: content_block_delta\ndata: {\n\n",
        b"data: 7\n\n",
        event({"type": "content_block_stop"}),
        event(message_start()),
        b'data: {"type":"ping","x":' + b"[" * 100_000 + b"\n\n",
    ],
)
def test_nonsense_is_an_error_after_the_events_before_it(nonsense: bytes) -> None:
    events = UpstreamEvents()
    assert kinds(events, stream([message_start()]) + nonsense + event(MESSAGE_STOP)) == ["MessageStart"]
    assert isinstance(events.error, BadUpstreamReply)
    before = events.error
    events.end()
    assert events.error is before


@pytest.mark.parametrize("early", [block_delta(0, "text_delta", text="a"), MESSAGE_STOP])
def test_content_before_the_message_is_nonsense(early: dict[str, object]) -> None:
    events = UpstreamEvents()
    assert kinds(events, event(early)) == []
    assert isinstance(events.error, BadUpstreamReply)


@pytest.mark.parametrize("heard", [b"", event({"type": "ping"}), stream([message_start()])])
def test_a_stream_that_ends_early_broke_off(heard: bytes) -> None:
    events = UpstreamEvents()
    events.feed(heard)
    events.end()
    assert isinstance(events.error, UpstreamUnreachable)


@pytest.mark.parametrize("body", [b"<html></html>", b'{"id":"msg_1"}', b": ping\n\n", b"data: {"])
def test_a_body_without_any_event_was_no_stream(body: bytes) -> None:
    events = UpstreamEvents()
    events.feed(body)
    events.end()
    assert isinstance(events.error, BadUpstreamReply)

from __future__ import annotations

import pytest

from app.schemas.anthropic_reply import (
    ContentBlockDelta,
    InputJsonDelta,
    MessageStop,
    Ping,
    ServerToolUseBlock,
    TextBlock,
    TextDelta,
    decode_block,
    decode_event,
)


def test_a_text_delta_is_typed() -> None:
    data = b'{"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":"d\xc3\xa9j\xc3\xa0"}}'
    assert decode_event(data) == ContentBlockDelta(3, TextDelta("déjà"))


def test_the_type_may_come_last() -> None:
    data = b'{"index":0,"delta":{"partial_json":"{","type":"input_json_delta"},"type":"content_block_delta"}'
    assert decode_event(data) == ContentBlockDelta(0, InputJsonDelta("{"))


@pytest.mark.parametrize(
    ("data", "kind"), [(b'{"type":"ping"}', Ping), (b'{"type":"message_stop","x":1}', MessageStop)]
)
def test_events_without_content_are_told_apart(data: bytes, kind: type) -> None:
    assert type(decode_event(data)) is kind


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"message_paused","anything":1}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"compaction_delta","content":"x"}}',
    ],
)
def test_unknown_events_and_deltas_are_none(data: bytes) -> None:
    assert decode_event(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"type":1}',
        b'{"type":"content_block_delta"}',
        b'{"type":"content_block_delta","index":"0","delta":{"type":"text_delta","text":""}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":7}}',
        b'{"type":"content_block_delta","index":0,"delta":{}}',
        b'{"type":"message_start"}',
        b'{"type":"ping"} trailing',
    ],
)
def test_a_known_event_of_another_shape_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_event(data)


@pytest.mark.parametrize("filler", ["", "x" * 7, "x" * 64])
@pytest.mark.parametrize(
    "bad", [b"\n", b"\x00", b"\x1f", b"\\q", b"\\ud800", b"\\ud800\\ud800", b"\xff", b"\xed\xa0\x80"]
)
def test_text_that_is_not_a_json_string_in_utf_8_never_comes_through(bad: bytes, filler: str) -> None:
    text = filler.encode() + bad + filler.encode()
    for data in (
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}' % text,
        b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"","later":"%s"}}' % text,
        b'{"type":"ping","skipped":"%s"}' % text,
    ):
        with pytest.raises(ValueError):
            decode_event(data)


def test_nesting_without_end_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(RecursionError):
        decode_event(b'{"type":"ping","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_a_block_is_typed_by_its_kind() -> None:
    assert decode_block(b'{"type":"text","text":"a","citations":null}') == TextBlock("a")


def test_a_block_of_a_kind_that_is_not_shown_is_none() -> None:
    assert decode_block(b'{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]}') is None


def test_a_call_of_a_server_tool_has_a_name() -> None:
    block = decode_block(b'{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}')
    assert block == ServerToolUseBlock("web_search")


@pytest.mark.parametrize("data", [b'{"type":"text"}', b'{"type":"tool_use","id":1,"name":"a"}', b"[]", b"{}"])
def test_a_block_of_another_shape_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_block(data)

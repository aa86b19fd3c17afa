from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import DecodeError, Raw

from app.errors import BadUpstreamReply
from app.schemas.anthropic_reply import (
    CitationsDelta,
    ContentBlockDelta,
    ContentBlockStart,
    Delta,
    InputJsonDelta,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from app.translate.content_accumulator import BlockAccumulator, ContentAccumulator, sendable


def block(start: dict[str, Any], *deltas: Delta) -> Any:
    accumulator = BlockAccumulator(Raw(json.dumps(start).encode()))
    for delta in deltas:
        accumulator.add(delta)
    return json.loads(bytes(accumulator.block()))


def test_text_goes_on_from_what_the_block_began_with() -> None:
    assert block({"type": "text", "text": "a"}, TextDelta("b"), TextDelta("é")) == {"type": "text", "text": "abé"}


def test_text_needs_no_beginning() -> None:
    assert block({"type": "text"}, TextDelta("b")) == {"type": "text", "text": "b"}


def test_citations_are_added_to_those_the_block_began_with() -> None:
    one, two = {"type": "char_location", "n": 1}, {"type": "char_location", "n": 2}
    delta = CitationsDelta(Raw(json.dumps(two).encode()))
    assert block({"type": "text", "text": "", "citations": [one]}, delta)["citations"] == [one, two]
    assert block({"type": "text", "text": "", "citations": None}, delta)["citations"] == [two]
    assert block({"type": "text", "text": ""}, delta)["citations"] == [two]


def test_thinking_is_kept_with_its_signature_and_what_we_do_not_know() -> None:
    start = {"type": "thinking", "thinking": "", "signature": "", "progress": {"step": 1}}
    deltas = ThinkingDelta("a"), ThinkingDelta("b"), SignatureDelta("SIG==")
    assert block(start, *deltas) == {**start, "thinking": "ab", "signature": "SIG=="}


def test_input_is_put_together_from_its_json_text() -> None:
    start = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
    assert block(start, InputJsonDelta('{"a": 1.'), InputJsonDelta("50}"))["input"] == {"a": 1.5}


def test_input_without_text_stays_as_the_block_began() -> None:
    start = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {"a": 1}}
    assert block(start, InputJsonDelta("")) == start


@pytest.mark.parametrize("text", ['{"city": "Ro', "[1]", "7", "[" * 100_000])
def test_input_that_is_no_json_object_is_kept_as_text(text: str) -> None:
    start = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
    assert block(start, InputJsonDelta(text))["input"] == {"_raw_arguments": text}


def test_a_block_that_is_no_object_is_an_error() -> None:
    with pytest.raises(DecodeError):
        BlockAccumulator(Raw(b"[]"))


def test_text_after_something_that_is_no_text_is_an_error() -> None:
    accumulator = BlockAccumulator(Raw(b'{"type":"text","text":7}'))
    accumulator.add(TextDelta("a"))
    with pytest.raises(DecodeError):
        accumulator.block()


def test_blocks_come_in_the_order_of_their_index() -> None:
    content = ContentAccumulator()
    content.start(ContentBlockStart(1, Raw(b'{"type":"text","text":"b"}')))
    content.start(ContentBlockStart(0, Raw(b'{"type":"text","text":"a"}')))
    content.add(ContentBlockDelta(0, TextDelta("!")))
    assert [json.loads(bytes(block))["text"] for block in content.blocks()] == ["a!", "b"]


def test_a_delta_of_a_block_that_never_began_is_an_error() -> None:
    with pytest.raises(BadUpstreamReply):
        ContentAccumulator().add(ContentBlockDelta(0, TextDelta("a")))


def test_all_blocks_but_blank_text_may_be_sent_back() -> None:
    empty, blank, text = (Raw(b'{"type":"text","text":"%s"}' % text) for text in (b"", b" \\n", b" a"))
    result = Raw(b'{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]}')
    assert sendable([empty, blank, text, result]) == [text, result]

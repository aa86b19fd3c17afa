from __future__ import annotations

import json
from typing import Any

from msgspec import Raw

from app.schemas.anthropic_reply import (
    CitationsDelta,
    InputJsonDelta,
    SignatureDelta,
    TextBlock,
    TextDelta,
    ThinkingDelta,
)
from app.translate.chat_blocks import Block, ContentText, HiddenBlock, KeptBlock, Progress, Reasoning
from app.translate.chat_chunks import ChunkWriter
from app.translate.content_accumulator import BlockAccumulator
from tests.support.chat_frames import deltas

WRITER = ChunkWriter(id="chatcmpl-1", created=7, model="m", index=0, with_usage=False)


def page(url: str) -> Raw:
    return Raw(json.dumps({"type": "web_search_result_location", "url": url, "title": "T"}).encode())


def place(text: str) -> Raw:
    return Raw(json.dumps({"type": "char_location", "cited_text": text}).encode())


def text_block(progress: Progress, text: str = "", citations: list[Raw] | None = None) -> ContentText:
    return ContentText(TextBlock(text, citations), WRITER, WRITER.text_frame(b'{"content":', b"}"), progress)


def thinking(block: dict[str, Any], progress: Progress, *, with_details: bool = False) -> Reasoning:
    raw = Raw(json.dumps(block).encode())
    return Reasoning(raw, block.get("thinking", ""), WRITER, progress, with_details=with_details)


def sent(block: Block, *more: Any) -> list[dict[str, Any]]:
    return deltas(block.open() + b"".join(block.add(delta) for delta in more) + block.close())


def test_text_is_content() -> None:
    assert sent(text_block(Progress(), "a"), TextDelta("b"), TextDelta(""), TextDelta("c")) == [
        {"content": "a"},
        {"content": "b"},
        {"content": "c"},
    ]


def test_deltas_of_other_kinds_are_no_content() -> None:
    assert sent(text_block(Progress()), ThinkingDelta("a"), InputJsonDelta("{}"), SignatureDelta("s")) == []


def test_citations_follow_the_text_they_span() -> None:
    progress = Progress()
    sent(text_block(progress, "déjà "))
    annotated = sent(text_block(progress), TextDelta("vu 👍"), CitationsDelta(page("https://a.test")))[-1]
    assert annotated == {
        "annotations": [
            {
                "type": "url_citation",
                "url_citation": {"url": "https://a.test", "title": "T", "start_index": 5, "end_index": 9},
            }
        ]
    }


def test_citations_of_other_kinds_are_shown_as_they_are() -> None:
    assert sent(text_block(Progress(), citations=[place("x")]))[-1] == {
        "citations": [{"type": "char_location", "cited_text": "x"}]
    }


def test_later_entries_of_a_list_carry_their_place_in_it() -> None:
    progress = Progress()
    first = sent(text_block(progress, citations=[page("a"), page("b"), place("x")]))[-1]
    second = sent(text_block(progress, citations=[place("y"), page("c"), place("z")]))[-1]
    assert [entry.get("index") for entry in first["annotations"] + first["citations"]] == [None, None, None]
    assert [(entry["index"], entry["url_citation"]["url"]) for entry in second["annotations"]] == [(2, "c")]
    assert [(entry["index"], entry["cited_text"]) for entry in second["citations"]] == [(1, "y"), (2, "z")]


def test_thinking_is_shown_as_it_comes_and_whole_at_its_end() -> None:
    block = {"type": "thinking", "thinking": "a", "signature": "", "later": 1}
    assert sent(thinking(block, Progress()), ThinkingDelta("b"), ThinkingDelta(""), SignatureDelta("SIG==")) == [
        {"reasoning_content": "a"},
        {"reasoning_content": "b"},
        {"thinking_blocks": [{**block, "thinking": "ab", "signature": "SIG=="}]},
    ]


def test_thinking_without_text_is_only_a_block() -> None:
    block = {"type": "thinking", "thinking": "", "signature": "SIG=="}
    assert sent(thinking(block, Progress())) == [{"thinking_blocks": [block]}]


def test_redacted_thinking_is_only_a_block() -> None:
    block = {"type": "redacted_thinking", "data": "blob"}
    assert sent(thinking(block, Progress())) == [{"thinking_blocks": [block]}]


def test_later_thinking_blocks_carry_their_place() -> None:
    progress = Progress()
    block = {"type": "redacted_thinking", "data": "blob"}
    sent(thinking(block, progress))
    assert sent(thinking(block, progress)) == [{"thinking_blocks": [{**block, "index": 1}]}]


def test_reasoning_details_are_the_same_in_openrouters_form() -> None:
    progress = Progress(thinking_blocks=1)
    block = {"type": "thinking", "thinking": "", "signature": ""}
    first, last = sent(thinking(block, progress, with_details=True), ThinkingDelta("b"), SignatureDelta("SIG=="))
    assert first == {"reasoning_content": "b", "reasoning": "b"}
    assert last["reasoning_details"] == [
        {"type": "reasoning.text", "text": "b", "signature": "SIG==", "format": "anthropic-claude-v1", "index": 1}
    ]


def test_a_hidden_block_shows_nothing() -> None:
    assert sent(HiddenBlock(), TextDelta("a"), InputJsonDelta("{}")) == []


def test_a_kept_block_shows_what_it_shows_and_is_put_together() -> None:
    kept = BlockAccumulator(Raw(b'{"type":"text","text":"a"}'))
    assert sent(KeptBlock(text_block(Progress(), "a"), kept), TextDelta("b")) == [{"content": "a"}, {"content": "b"}]
    assert json.loads(bytes(kept.block())) == {"type": "text", "text": "ab"}

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from app.domain.calls import ReplyPlan
from app.schemas.anthropic_reply import InputJsonDelta, TextBlock, TextDelta, ToolUseBlock
from app.translate.chat_blocks import Block, Progress
from app.translate.chat_calls import StructuredCall, StructuredText, tool_call
from app.translate.chat_chunks import ChunkWriter
from tests.support.chat_frames import deltas

WRITER = ChunkWriter(id="chatcmpl-1", created=7, model="m", index=0, with_usage=False)
NOW = ToolUseBlock("toolu_1", "now")
CUSTOM = ReplyPlan(custom_tools=frozenset({"now"}))
LEGACY = ReplyPlan(function_call=True)


def sent(block: Block, *more: Any) -> list[dict[str, Any]]:
    return deltas(block.open() + b"".join(block.add(delta) for delta in more) + block.close())


def arguments(*pieces: str) -> list[InputJsonDelta]:
    return [InputJsonDelta(piece) for piece in pieces]


def test_a_function_is_named_at_once_and_its_arguments_follow_as_they_were_cut() -> None:
    call = tool_call(NOW, WRITER, ReplyPlan(), Progress())
    assert sent(call, *arguments("", '{"a": "é', '"}')) == [
        {
            "tool_calls": [
                {"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "now", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": "é'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"}'}}]},
    ]


@pytest.mark.parametrize(("begun_with", "text"), [(b"{}", "{}"), (b'{ "a": 1 }', '{"a":1}')])
def test_a_call_without_argument_text_has_the_arguments_it_began_with(begun_with: bytes, text: str) -> None:
    call = tool_call(ToolUseBlock("toolu_1", "now", Raw(begun_with)), WRITER, ReplyPlan(), Progress())
    assert sent(call, *arguments(""))[1:] == [{"tool_calls": [{"index": 0, "function": {"arguments": text}}]}]


def test_calls_are_counted() -> None:
    progress = Progress()
    for plan in (ReplyPlan(), CUSTOM, ReplyPlan()):
        call = sent(tool_call(NOW, WRITER, plan, progress))
    assert [entry["index"] for delta in call for entry in delta["tool_calls"]] == [2, 2]


def test_the_legacy_form_has_neither_id_nor_index() -> None:
    assert sent(tool_call(NOW, WRITER, LEGACY, Progress()), *arguments("{}")) == [
        {"function_call": {"name": "now", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
    ]


@pytest.mark.parametrize("plan", [ReplyPlan(), CUSTOM])
def test_deltas_of_other_kinds_are_no_arguments(plan: ReplyPlan) -> None:
    call = tool_call(NOW, WRITER, plan, Progress())
    assert call.add(TextDelta("a")) == b""


def test_a_custom_tool_is_called_in_one_piece() -> None:
    call = tool_call(NOW, WRITER, CUSTOM, Progress())
    assert sent(call, *arguments('{"inp', 'ut":"date\\n"}')) == [
        {"tool_calls": [{"index": 0, "id": "toolu_1", "type": "custom", "custom": {"name": "now", "input": "date\n"}}]}
    ]


def test_a_custom_tool_without_deltas_has_the_input_it_began_with() -> None:
    call = tool_call(ToolUseBlock("toolu_1", "now", Raw(b'{"input":"date"}')), WRITER, CUSTOM, Progress())
    assert sent(call)[0]["tool_calls"][0]["custom"]["input"] == "date"


def structured(*blocks: tuple[str, list[Any]], plan: ReplyPlan = ReplyPlan()) -> list[dict[str, Any]]:  # noqa: B008
    call = StructuredCall(NOW, WRITER, plan, Progress())
    assert not call.has_begun
    parts = []
    for start, more in blocks:
        block = StructuredText(TextBlock(start), call)
        parts.append(block.open() + b"".join(block.add(delta) for delta in more) + block.close())
    return deltas(b"".join(parts) + call.close())


def test_all_text_of_a_structured_answer_is_the_arguments_of_one_call() -> None:
    sent_deltas = structured(("", [TextDelta("{"), TextDelta("")]), ('"a":', [InputJsonDelta("no"), TextDelta("1}")]))
    assert [delta["tool_calls"][0]["function"]["arguments"] for delta in sent_deltas] == ["", "{", '"a":', "1}"]


def test_a_structured_call_of_a_custom_tool_is_sent_in_one_piece() -> None:
    (delta,) = structured(('{"input":', [TextDelta('"ls"}')]), plan=CUSTOM)
    assert delta["tool_calls"][0]["custom"] == {"name": "now", "input": "ls"}


def test_a_structured_answer_in_the_legacy_form() -> None:
    assert structured(("{}", []), plan=LEGACY)[1] == {"function_call": {"arguments": "{}"}}


def test_no_text_is_no_call() -> None:
    assert structured(("", [TextDelta("")])) == []

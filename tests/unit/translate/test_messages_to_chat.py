from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.calls import ReplyPlan, Report, Usage
from app.errors import BadUpstreamReply
from app.translate.messages_to_chat import ChatReply, message_usage, paused_content, to_chat

PAGE = {"type": "web_search_result_location", "url": "https://a.test", "title": "A", "encrypted_index": "e"}
PLACE = {"type": "page_location", "cited_text": "c", "document_index": 0}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"encrypted_content": "abc"}]}


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **fields}


def tool(name: str, input_: Any, id_: str = "toolu_1") -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": input_}


def message(*content: dict[str, Any], stop_reason: str = "end_turn", **fields: Any) -> bytes:
    whole = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 3},
        **fields,
    }
    return json.dumps(whole).encode()


def reply(*bodies: bytes, plan: ReplyPlan = ReplyPlan()) -> ChatReply:  # noqa: B008 - frozen
    return to_chat([[body] for body in bodies], plan, created=7)


def first_choice(answer: ChatReply) -> dict[str, Any]:
    choice: dict[str, Any] = json.loads(answer.body)["choices"][0]
    return choice


def first_message(answer: ChatReply) -> dict[str, Any]:
    found: dict[str, Any] = first_choice(answer)["message"]
    return found


def test_text_blocks_are_one_content() -> None:
    assert first_message(reply(message(text("a"), text("é")))) == {
        "role": "assistant",
        "content": "aé",
        "refusal": None,
        "annotations": [],
    }


def test_each_answer_is_a_choice_and_usage_adds_up() -> None:
    answer = reply(message(text("a"), id="msg_A"), message(text("b"), id="msg_B", stop_reason="max_tokens"))
    completion = json.loads(answer.body)
    assert completion["id"] == "chatcmpl-A"
    assert [(choice["index"], choice["message"]["content"]) for choice in completion["choices"]] == [(0, "a"), (1, "b")]
    assert completion["usage"]["total_tokens"] == 16
    assert answer.usage == Usage(input_tokens=10, output_tokens=6)
    assert answer.finish_reasons == ("stop", "length")


def test_the_service_tier_is_left_out_when_it_is_not_known() -> None:
    assert "service_tier" not in json.loads(reply(message()).body)


def test_a_refusal_without_text_has_no_content() -> None:
    details = {"type": "refusal", "category": None, "explanation": "No."}
    found = first_message(reply(message(stop_reason="refusal", stop_details=details)))
    assert (found["content"], found["refusal"]) == (None, "No.")


def test_citations_of_pages_are_annotations_and_others_are_kept() -> None:
    found = first_message(reply(message(text("déjà "), text("vu", citations=[PAGE, PLACE]), text("!", citations=None))))
    span = {"url": "https://a.test", "title": "A", "start_index": 5, "end_index": 7}
    assert found["annotations"] == [{"type": "url_citation", "url_citation": span}]
    assert found["citations"] == [PLACE]


def test_server_tools_and_unknown_blocks_are_not_shown() -> None:
    assert first_message(reply(message(SEARCH, FOUND, {"type": "hologram"}, text("a"))))["content"] == "a"


def test_thinking_in_openrouters_form_on_request() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "SIG=="}
    redacted = {"type": "redacted_thinking", "data": "blob"}
    plan = ReplyPlan(include_reasoning=True, reasoning_details=True)
    found = first_message(reply(message(thinking, redacted), plan=plan))
    assert (found["reasoning"], found["reasoning_content"]) == ("hm", "hm")
    assert [detail["type"] for detail in found["reasoning_details"]] == ["reasoning.text", "reasoning.encrypted"]
    assert found["thinking_blocks"] == [thinking, redacted]


def test_a_thinking_block_is_given_back_with_what_we_do_not_know() -> None:
    thinking = {"type": "thinking", "thinking": "", "signature": "SIG==", "progress": {"step": 1}}
    found = first_message(reply(message(thinking), plan=ReplyPlan(include_reasoning=True)))
    assert found["thinking_blocks"] == [thinking]
    assert "reasoning_content" not in found


def test_the_legacy_form_has_room_for_one_call_and_reports_the_others() -> None:
    calls = tool("now", {"a": 1}), tool("then", {}, "toolu_2")
    answer = reply(message(*calls, stop_reason="tool_use"), plan=ReplyPlan(function_call=True))
    assert first_message(answer)["function_call"] == {"name": "now", "arguments": '{"a":1}'}
    assert "tool_calls" not in first_message(answer)
    assert answer.finish_reasons == ("function_call",)
    assert answer.report == Report(adjusted=(("function_call", "first_of_2"),))


def test_the_legacy_form_without_a_call() -> None:
    assert "function_call" not in first_message(reply(message(text("a")), plan=ReplyPlan(function_call=True)))


def test_a_forced_tool_that_was_not_called_is_reported() -> None:
    assert reply(message(text("a")), plan=ReplyPlan(expects_tool_call=True)).report == Report(
        adjusted=(("tool_choice", "no_call"),)
    )


def test_a_structured_answer_is_one_call_of_the_forced_tool() -> None:
    plan = ReplyPlan(structured_tool="report", expects_tool_call=True)
    answer = reply(message(text('{"a":'), text("1}", citations=[PAGE])), plan=plan)
    found = first_message(answer)
    call = {"id": "call_01", "type": "function", "function": {"name": "report", "arguments": '{"a":1}'}}
    assert (found["content"], found["tool_calls"], found["annotations"]) == (None, [call], [])
    assert answer.finish_reasons == ("tool_calls",)
    assert answer.report == Report()


def test_a_structured_answer_of_a_custom_tool() -> None:
    plan = ReplyPlan(structured_tool="shell", custom_tools=frozenset({"shell"}))
    found = first_message(reply(message(text('{"input":"ls"}')), plan=plan))
    assert found["tool_calls"] == [{"id": "call_01", "type": "custom", "custom": {"name": "shell", "input": "ls"}}]


def test_a_structured_answer_without_text_is_no_call() -> None:
    answer = reply(message(stop_reason="refusal"), plan=ReplyPlan(structured_tool="report"))
    assert "tool_calls" not in first_message(answer)
    assert answer.finish_reasons == ("content_filter",)


@pytest.mark.parametrize(
    ("stop_reason", "arguments"), [("max_tokens", '{"a'), ("tool_use", '{"_raw_arguments":"{\\"a"}')]
)
def test_arguments_that_were_cut_off_are_given_as_they_came(stop_reason: str, arguments: str) -> None:
    found = first_message(reply(message(tool("now", {"_raw_arguments": '{"a'}), stop_reason=stop_reason)))
    assert found["tool_calls"][0]["function"]["arguments"] == arguments


# --- pauses ---------------------------------------------------------------------------------------------------------


def test_a_chain_of_paused_messages_is_one_answer() -> None:
    chain = [
        message(text("Let me look."), SEARCH, stop_reason="pause_turn", id="msg_A"),
        message(FOUND, text(" Found it.", citations=[PAGE]), id="msg_B"),
    ]
    answer = to_chat([chain], ReplyPlan(server_tools=True), created=7)
    assert json.loads(answer.body)["id"] == "chatcmpl-A"
    assert first_choice(answer)["finish_reason"] == "stop"
    assert first_message(answer)["content"] == "Let me look. Found it."
    assert first_message(answer)["annotations"][0]["url_citation"]["start_index"] == 12
    assert answer.usage == Usage(input_tokens=10, output_tokens=6)
    assert answer.usages == (Usage(input_tokens=5, output_tokens=3),) * 2


def test_the_tokens_of_one_message_can_be_read_alone() -> None:
    body = message(text("a"), usage={"input_tokens": 1, "server_tool_use": {"web_search_requests": 2}})
    assert message_usage(body) == Usage(input_tokens=1, web_search_requests=2)


def test_a_paused_message_is_continued_with_its_blocks_as_they_were_received() -> None:
    content = paused_content(message(text("Let me look."), SEARCH, FOUND, text(""), stop_reason="pause_turn"))
    assert content is not None
    assert json.loads(content) == [text("Let me look."), SEARCH, FOUND]


def test_a_message_that_did_not_pause_has_nothing_to_continue_with() -> None:
    assert paused_content(message(text("a"))) is None


# --- nonsense -------------------------------------------------------------------------------------------------------

NONSENSE = [
    b"",
    b"<html></html>",
    b"[]",
    b'{"type":"message"}',
    b'{"id":"msg_1","model":"m","content":[{"type":"text"}],"stop_reason":"pause_turn"}',
    b'{"id":"msg_1","model":"m","content":[7],"stop_reason":"pause_turn"}',
    b'{"id":"msg_1","model":"m","content":[{"type":"thinking","thinking":"","x":"\xff"}]}',
    b'{"id":"msg_1","model":"m","content":[{"type":"tool_use","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
    b'{"id":"msg_1","model":"m","usage":{"input_tokens":"many"}}',
]


@pytest.mark.parametrize("body", NONSENSE)
def test_a_body_that_is_no_message_is_an_error(body: bytes) -> None:
    with pytest.raises(BadUpstreamReply):
        reply(body)


@pytest.mark.parametrize("body", NONSENSE)
def test_a_pause_is_not_read_from_a_body_that_is_no_message(body: bytes) -> None:
    with pytest.raises(BadUpstreamReply):
        paused_content(body)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id":"msg_1","model":"m","usage":{"input_tokens":"many"}}'])
def test_a_body_that_is_no_message_tells_no_tokens(body: bytes) -> None:
    assert message_usage(body) is None

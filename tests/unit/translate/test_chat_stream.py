from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.calls import ReplyPlan, Report, Usage
from app.domain.output_meter import MessageUsage, TokenRatios
from app.errors import BadUpstreamReply, UpstreamStatus, UpstreamUnreachable
from app.translate.chat_stream import ChatStream
from tests.support.anthropic_stream import (
    MESSAGE_STOP,
    JsonObject,
    block_delta,
    block_start,
    block_stop,
    event,
    message_delta,
    message_start,
    stream,
    text_block,
    text_stream,
    tool_block,
)
from tests.support.chat_frames import deltas, frames

OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
SEARCH = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {},
    "caller": {"type": "direct"},
}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"encrypted_content": "abc"}]}


def chat_stream(plan: ReplyPlan = ReplyPlan(), **options: Any) -> ChatStream:  # noqa: B008 - frozen
    return ChatStream(plan, created=7, **options)


def content(sent: bytes) -> str:
    return "".join(delta.get("content", "") for delta in deltas(sent))


def finish_reasons(sent: bytes) -> list[str]:
    reasons = [frame["choices"][0]["finish_reason"] for frame in frames(sent) if isinstance(frame, dict)]
    return [reason for reason in reasons if reason]


def test_every_event_is_answered_at_once() -> None:
    chat = chat_stream()
    sent = [chat.feed(event(one)) for one in (message_start(), *text_block(0, "a", "b"))]
    assert [len(frames(part)) for part in sent] == [1, 0, 1, 1, 0]
    assert not chat.stopped


def test_id_model_and_reasons_are_known() -> None:
    chat = chat_stream()
    chat.feed(text_stream("a", stop_reason="max_tokens"))
    assert (chat.id, chat.model) == ("chatcmpl-01", "claude-opus-5-5")
    assert (chat.stop_reason, chat.finish_reason) == ("max_tokens", "length")


def test_a_shared_id_and_an_index_are_kept() -> None:
    chunk = frames(chat_stream(id="chatcmpl-shared", index=2).feed(event(message_start())))[0]
    assert chunk["id"] == "chatcmpl-shared"
    assert chunk["choices"][0]["index"] == 2


def test_a_ping_is_a_comment_and_does_not_start_the_stream() -> None:
    chat = chat_stream()
    assert chat.feed(event({"type": "ping"})) == b": ping\n\n"
    assert not chat.started
    chat.feed(event(message_start()))
    assert chat.started


def test_the_message_delta_corrects_the_usage_of_the_start() -> None:
    chat = chat_stream()
    chat.feed(event(message_start(usage={"input_tokens": 12, "cache_read_input_tokens": 100, "output_tokens": 1})))
    assert chat.usage == Usage(input_tokens=12, cache_read_input_tokens=100, output_tokens=1)
    chat.feed(event(message_delta(usage={"input_tokens": 15, "output_tokens": 77})))
    assert chat.usage == Usage(input_tokens=15, cache_read_input_tokens=100, output_tokens=77)


def test_the_first_chunk_names_the_service_tier() -> None:
    start = message_start(usage={"input_tokens": 1, "output_tokens": 1, "service_tier": "standard"})
    sent = frames(chat_stream().feed(event(start) + stream(text_block(0, "a"))))
    assert [frame.get("service_tier") for frame in sent] == ["default", None]


def test_closing_without_a_usage_chunk_is_done() -> None:
    chat = chat_stream()
    chat.feed(text_stream("a"))
    assert chat.closing() == b"data: [DONE]\n\n"


def test_closing_gives_the_usage_of_all_choices() -> None:
    chat = chat_stream(ReplyPlan(include_usage=True))
    chat.feed(text_stream("a"))
    own, done = frames(chat.closing())
    assert own["usage"]["completion_tokens"] == 5
    assert done == "[DONE]"
    assert frames(chat.closing(chat.usage + Usage(output_tokens=2)))[0]["usage"]["completion_tokens"] == 7


def test_a_message_may_end_without_a_reason() -> None:
    chat = chat_stream()
    assert finish_reasons(chat.feed(text_stream("a", stop_reason=None))) == ["stop"]
    assert chat.stopped


def test_only_the_first_reason_counts() -> None:
    sent = chat_stream().feed(
        stream([message_start(), message_delta("max_tokens"), message_delta("end_turn"), MESSAGE_STOP])
    )
    assert finish_reasons(sent) == ["length"]


def test_a_block_that_never_ended_ends_with_the_message() -> None:
    custom = {"type": "tool_use", "id": "toolu_1", "name": "shell", "input": {}}
    piece = block_delta(0, "input_json_delta", partial_json='{"input":"ls"}')
    sent = chat_stream(ReplyPlan(custom_tools=frozenset({"shell"}))).feed(
        stream([message_start(), block_start(0, custom), piece, message_delta("tool_use"), MESSAGE_STOP])
    )
    assert deltas(sent)[1]["tool_calls"][0]["custom"] == {"name": "shell", "input": "ls"}


def test_the_end_of_a_block_that_never_began_is_nothing() -> None:
    chat = chat_stream()
    assert len(frames(chat.feed(stream([message_start(), block_stop(4)])))) == 1
    assert chat.error is None


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_an_error_event_after_the_first_frame() -> None:
    chat = chat_stream()
    sent = chat.feed(stream([message_start(), *text_block(0, "Par")]) + event(OVERLOADED))
    assert content(sent) == "Par"
    assert isinstance(chat.error, UpstreamStatus)
    assert (chat.error.status, chat.error.request_id, chat.started) == (529, "req_1", True)
    assert chat.feed(text_stream("more")) == b""
    assert chat.end() == b""


def test_an_error_event_before_the_first_frame_leaves_the_status_open() -> None:
    chat = chat_stream()
    assert chat.feed(event({"type": "ping"}) + event(OVERLOADED)) == b": ping\n\n"
    assert isinstance(chat.error, UpstreamStatus)
    assert not chat.started


@pytest.mark.parametrize(
    "nonsense",
    [
        b"data: {not json}\n\n",
        event(block_start(1, {"type": "text"})),
        event(block_delta(9, "text_delta", text="a")),
        event(message_start()),
        event({"type": "message_delta", "delta": {"stop_reason": 7}}),
        event({"type": "message_delta", "delta": {}, "usage": {"output_tokens": "many"}}),
    ],
)
def test_nonsense_is_an_error_after_the_frames_before_it(nonsense: bytes) -> None:
    chat = chat_stream()
    sent = chat.feed(stream([message_start(), *text_block(0, "Par")]) + nonsense + event(MESSAGE_STOP))
    assert content(sent) == "Par"
    assert isinstance(chat.error, BadUpstreamReply)
    assert not chat.stopped
    assert chat.feed(event(MESSAGE_STOP)) == b""


def test_a_message_without_an_id_is_nonsense() -> None:
    chat = chat_stream()
    assert chat.feed(event({"type": "message_start", "message": {}})) == b""
    assert isinstance(chat.error, BadUpstreamReply)
    assert not chat.started


def test_an_upstream_that_stops_in_the_middle_is_an_error() -> None:
    chat = chat_stream()
    chat.feed(stream([message_start()]))
    assert chat.end() == b""
    assert isinstance(chat.error, UpstreamUnreachable)


def test_a_body_that_is_no_stream_is_an_error() -> None:
    chat = chat_stream()
    assert chat.feed(b"<html>hello</html>") + chat.end() == b""
    assert isinstance(chat.error, BadUpstreamReply)


def test_the_end_after_the_end_of_the_message_is_fine() -> None:
    chat = chat_stream()
    chat.feed(text_stream("a"))
    assert chat.end() == b""
    assert chat.error is None


# --- pauses ---------------------------------------------------------------------------------------------------------


def paused_stream() -> list[JsonObject]:
    return [
        message_start(usage={"input_tokens": 10, "output_tokens": 1}),
        *text_block(0, "Let me ", "look."),
        block_start(1, SEARCH),
        block_delta(1, "input_json_delta", partial_json='{"query": "x"}'),
        block_stop(1),
        block_start(2, FOUND),
        block_stop(2),
        *text_block(3),
        message_delta("pause_turn", usage={"output_tokens": 4}),
        MESSAGE_STOP,
    ]


def test_a_pause_ends_neither_the_answer_nor_the_stream() -> None:
    chat = chat_stream(continue_pauses=True)
    sent = chat.feed(stream(paused_stream()))
    assert content(sent) == "Let me look."
    assert finish_reasons(sent) == []
    assert (chat.paused, chat.stopped, chat.stop_reason, chat.error) == (True, False, "pause_turn", None)
    assert chat.end() == b""
    assert chat.error is None


def test_a_paused_message_is_continued_with_its_blocks_as_they_were_received() -> None:
    chat = chat_stream(continue_pauses=True)
    chat.feed(stream(paused_stream()))
    assert json.loads(chat.continuation()) == [
        {"type": "text", "text": "Let me look."},
        {**SEARCH, "input": {"query": "x"}},
        FOUND,
    ]


def test_the_answer_goes_on_after_a_pause() -> None:
    chat = chat_stream(ReplyPlan(include_usage=True), continue_pauses=True)
    sent = chat.feed(stream(paused_stream()))
    chat.resume()
    assert not chat.paused
    sent += chat.feed(text_stream(" Found it."))
    assert content(sent) == "Let me look. Found it."
    assert [delta for delta in deltas(sent) if "role" in delta] == [{"role": "assistant", "content": ""}]
    assert finish_reasons(sent) == ["stop"]
    assert chat.usage == Usage(input_tokens=20, output_tokens=9)
    assert chat.stopped


def test_each_continuation_has_the_blocks_of_its_own_message_only() -> None:
    chat = chat_stream(continue_pauses=True)
    chat.feed(stream(paused_stream()))
    chat.resume()
    chat.feed(stream([message_start(), *text_block(0, "More."), message_delta("pause_turn"), MESSAGE_STOP]))
    assert json.loads(chat.continuation()) == [{"type": "text", "text": "More."}]


def test_tool_calls_are_counted_across_a_pause() -> None:
    chat = chat_stream(continue_pauses=True)
    sent = chat.feed(stream([message_start(), *tool_block(0, "now"), message_delta("pause_turn"), MESSAGE_STOP]))
    chat.resume()
    sent += chat.feed(stream([message_start(), *tool_block(0, "now"), message_delta("tool_use"), MESSAGE_STOP]))
    opened = [delta["tool_calls"][0] for delta in deltas(sent) if "tool_calls" in delta]
    assert [call["index"] for call in opened if "id" in call] == [0, 1]


def test_an_answer_whose_pause_is_given_up_is_cut_off() -> None:
    chat = chat_stream(continue_pauses=True)
    chat.feed(stream(paused_stream()))
    chat.give_up_pause()
    assert (chat.paused, chat.stopped) == (False, True)
    assert finish_reasons(chat.end()) == ["length"]
    assert chat.feed(b"late") == b""
    assert chat.error is None


def test_the_frames_of_a_given_up_pause_may_come_with_feed() -> None:
    chat = chat_stream(continue_pauses=True)
    chat.feed(stream(paused_stream()))
    chat.give_up_pause()
    assert finish_reasons(chat.feed(b"")) == ["length"]


def test_without_continuation_a_pause_is_an_answer_cut_off() -> None:
    chat = chat_stream()
    assert finish_reasons(chat.feed(stream(paused_stream()))) == ["length"]
    assert (chat.paused, chat.stopped) == (False, True)


# --- what kind of block becomes what --------------------------------------------------------------------------------


def test_thinking_is_hidden_unless_it_was_asked_for() -> None:
    thinking = [
        block_start(0, {"type": "thinking", "thinking": "a", "signature": ""}),
        block_delta(0, "thinking_delta", thinking="b"),
        block_stop(0),
        block_start(1, {"type": "redacted_thinking", "data": "blob"}),
        block_stop(1),
    ]
    upstream = stream([message_start(), *thinking, *text_block(2, "c")])
    assert deltas(chat_stream().feed(upstream))[1:] == [{"content": "c"}]
    shown = deltas(chat_stream(ReplyPlan(include_reasoning=True)).feed(upstream))[1:]
    assert [next(iter(delta)) for delta in shown] == [
        "reasoning_content",
        "reasoning_content",
        "thinking_blocks",
        "thinking_blocks",
        "content",
    ]


def test_reasoning_details_are_shown_on_request() -> None:
    start = block_start(0, {"type": "thinking", "thinking": "", "signature": ""})
    delta = block_delta(0, "thinking_delta", thinking="b")
    plan = ReplyPlan(include_reasoning=True, reasoning_details=True)
    sent = deltas(chat_stream(plan).feed(stream([message_start(), start, delta, block_stop(0)])))
    assert sent[1] == {"reasoning_content": "b", "reasoning": "b"}
    assert sent[2]["reasoning_details"][0]["text"] == "b"


def test_unknown_blocks_and_their_deltas_are_skipped() -> None:
    start = block_start(0, {"type": "hologram", "text": 7})
    upstream = stream(
        [message_start(), start, block_delta(0, "text_delta", text="x"), block_stop(0), *text_block(1, "a")]
    )
    assert content(chat_stream().feed(upstream)) == "a"


def test_the_legacy_form_has_room_for_one_call_and_reports_the_others() -> None:
    calls = [*tool_block(0, "now", '{"a":', "1}"), *tool_block(1, "then", "{}")]
    chat = chat_stream(ReplyPlan(function_call=True))
    sent = chat.feed(stream([message_start(), *calls, message_delta("tool_use"), MESSAGE_STOP]))
    assert deltas(sent)[1:-1] == [
        {"function_call": {"name": "now", "arguments": ""}},
        {"function_call": {"arguments": '{"a":'}},
        {"function_call": {"arguments": "1}"}},
    ]
    assert finish_reasons(sent) == ["function_call"]
    assert chat.report == Report(adjusted=(("function_call", "first_of_2"),))


def test_a_structured_answer_is_one_call_of_the_forced_tool() -> None:
    chat = chat_stream(ReplyPlan(structured_tool="report", expects_tool_call=True))
    sent = chat.feed(text_stream('{"a":', "1}"))
    assert deltas(sent)[1:-1] == [
        {
            "tool_calls": [
                {"index": 0, "id": "call_01", "type": "function", "function": {"name": "report", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
    ]
    assert finish_reasons(sent) == ["tool_calls"]
    assert chat.report == Report()


def test_a_structured_answer_without_text_is_no_call() -> None:
    chat = chat_stream(ReplyPlan(structured_tool="report", expects_tool_call=True))
    sent = chat.feed(text_stream(""))
    assert deltas(sent) == [{"role": "assistant", "content": ""}, {}]
    assert finish_reasons(sent) == ["stop"]
    assert chat.report == Report(adjusted=(("tool_choice", "no_call"),))


def test_a_refusal_comes_before_the_last_chunk() -> None:
    ending = message_delta("refusal", stop_details={"type": "refusal", "explanation": "No."})
    sent = chat_stream().feed(stream([message_start(), *text_block(0, "part"), ending, MESSAGE_STOP]))
    assert deltas(sent)[1:] == [{"content": "part"}, {"refusal": "No."}, {}]
    assert finish_reasons(sent) == ["content_filter"]


# --- what a message that broke off has used -------------------------------------------------------------------------


def test_a_complete_message_has_used_what_anthropic_says() -> None:
    chat = chat_stream()
    chat.feed(text_stream("a", "b"))
    assert chat.usages() == [MessageUsage(usage=Usage(input_tokens=10, output_tokens=5), estimated=False)]


def test_before_a_message_has_begun_nothing_is_known_of_it() -> None:
    chat = chat_stream()
    chat.feed(event({"type": "ping"}))
    assert chat.usages() == []


def test_a_message_that_broke_off_is_estimated_by_what_has_come() -> None:
    chat = chat_stream()
    call = tool_block(1, "now", '{"a":', "1}")
    chat.feed(stream([message_start(), *text_block(0, "12345678", "grün"), *call]))
    assert chat.usages() == [MessageUsage(usage=Usage(input_tokens=10, output_tokens=6), estimated=True)]
    assert chat.usages(TokenRatios(said=1))[0].usage.output_tokens == 8 + 5 + 3 + 7
    assert chat.usage == Usage(input_tokens=10, output_tokens=1)


def test_thinking_that_the_client_does_not_see_is_used_as_well() -> None:
    chat = chat_stream()
    start = block_start(0, {"type": "thinking", "thinking": "", "signature": ""})
    chat.feed(stream([message_start(), start]))
    assert chat.usages(TokenRatios(hidden_block=100))[0].usage.thinking_tokens == 50
    chat.feed(stream([block_delta(0, "signature_delta", signature="s" * 80), block_stop(0)]))
    assert chat.usages(TokenRatios(hidden=1))[0].usage == Usage(input_tokens=10, output_tokens=80, thinking_tokens=80)


def test_every_message_of_a_paused_chain_is_told_apart() -> None:
    chat = chat_stream(continue_pauses=True)
    search = [block_start(0, SEARCH), block_stop(0)]
    chat.feed(stream([message_start(), *search, message_delta("pause_turn"), MESSAGE_STOP]))
    assert len(chat.usages()) == 1
    chat.resume()
    assert [used.estimated for used in chat.usages()] == [False]
    chat.feed(stream([message_start(), *text_block(0, "12345678")]))
    assert chat.usages() == [
        MessageUsage(usage=Usage(input_tokens=10, output_tokens=5), estimated=False),
        MessageUsage(usage=Usage(input_tokens=10, output_tokens=2), estimated=True),
    ]
    assert [meter.complete for meter in chat.meters] == [True, False]

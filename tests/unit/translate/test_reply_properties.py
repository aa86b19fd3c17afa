"""What must hold for every message that Claude can answer and every way in which its bytes can arrive."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming._deltas import accumulate_delta
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from app.domain.calls import ReplyPlan
from app.translate.chat_stream import ChatStream
from app.translate.message_accumulator import MessageAccumulator
from app.translate.messages_to_chat import to_chat
from tests.support.anthropic_stream import cut, event, events_of, stream
from tests.support.chat_frames import frames

CREATED = 1795000000
few = settings(max_examples=60, deadline=None)
CUSTOM_TOOL = "shell"

Blocks = st.SearchStrategy[dict[str, Any]]
texts = st.text(max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["get_weather", "now"])
ids = st.integers(0, 10**6).map("toolu_{}".format)
web_citations = st.builds(
    lambda url, title: {"type": "web_search_result_location", "url": url, "title": title, "encrypted_index": "e"},
    texts,
    st.none() | texts,
)
other_citations = st.builds(lambda text: {"type": "char_location", "cited_text": text, "document_index": 0}, texts)

text_blocks = st.builds(lambda text: {"type": "text", "text": text}, texts)
cited_blocks = st.builds(
    lambda text, citations: {"type": "text", "text": text, "citations": citations},
    texts,
    st.lists(web_citations | other_citations, min_size=1, max_size=3),
)
thinking_blocks = st.builds(lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign}, texts, texts)
redacted_blocks = st.builds(lambda data: {"type": "redacted_thinking", "data": data}, texts)
tool_blocks = st.builds(
    lambda id_, name, input_: {"type": "tool_use", "id": id_, "name": name, "input": input_},
    ids,
    names,
    st.dictionaries(texts, json_values, max_size=3),
)
custom_blocks = st.builds(
    lambda id_, text: {"type": "tool_use", "id": id_, "name": CUSTOM_TOOL, "input": {"input": text}}, ids, texts
)
server_blocks: Blocks = st.sampled_from(
    [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"encrypted_content": "é"}]},
    ]
)
shown_blocks: Blocks = text_blocks | cited_blocks | thinking_blocks | redacted_blocks | tool_blocks | server_blocks

counts = st.integers(0, 10**6)
usages = st.builds(
    lambda given, written, read, put, thought, tier: {
        "input_tokens": given,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": put,
        "output_tokens_details": {"thinking_tokens": thought},
        "service_tier": tier,
    },
    counts,
    counts,
    counts,
    counts,
    counts,
    st.sampled_from(["standard", "priority", "batch"]),
)
endings = st.sampled_from(
    [
        {"stop_reason": "end_turn"},
        {"stop_reason": "max_tokens"},
        {"stop_reason": "tool_use"},
        {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": None, "explanation": "Não."}},
        {"stop_reason": "refusal", "stop_details": None},
    ]
)


def messages(blocks: Blocks) -> Blocks:
    return st.builds(
        lambda content, usage, ending: {
            "id": "msg_01Ab",
            "type": "message",
            "role": "assistant",
            "model": "claude-opus-5-5",
            "content": content,
            "stop_sequence": None,
            "usage": usage,
            **ending,
        },
        st.lists(blocks, max_size=5),
        usages,
        endings,
    )


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4)
plans = st.builds(
    ReplyPlan,
    include_reasoning=st.booleans(),
    reasoning_details=st.booleans(),
    include_usage=st.just(True),
    custom_tools=st.just(frozenset({CUSTOM_TOOL})),
    structured_tool=st.sampled_from(["", "", "get_weather"]),
)


def sent_for(upstream: bytes, plan: ReplyPlan, chunk_sizes: list[int] | None = None) -> bytes:
    chat = ChatStream(plan, created=CREATED)
    sent = b"".join(map(chat.feed, cut(upstream, chunk_sizes) if chunk_sizes else [upstream])) + chat.end()
    assert chat.error is None
    assert chat.stopped
    return sent + chat.closing()


@few
@given(messages(shown_blocks | custom_blocks), plans, sizes, sizes)
def test_any_cut_of_the_upstream_bytes_gives_the_same_frames(
    message: dict[str, Any], plan: ReplyPlan, text_sizes: list[int], chunk_sizes: list[int]
) -> None:
    upstream = stream(events_of(message, text_sizes))
    assert sent_for(upstream, plan, chunk_sizes) == sent_for(upstream, plan)


@few
@given(messages(shown_blocks | custom_blocks), plans, sizes, st.integers(0, 10**6), st.booleans())
def test_a_stream_that_breaks_off_gives_a_prefix_of_the_frames_and_an_error(
    message: dict[str, Any], plan: ReplyPlan, text_sizes: list[int], at: int, by_an_error_event: bool
) -> None:
    upstream = stream(events_of(message, text_sizes))
    chat = ChatStream(plan, created=CREATED)
    sent = chat.feed(upstream[: at % (len(upstream) - 1)])
    if by_an_error_event:
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        sent += chat.feed(b"\n\n" + event(error) + upstream)
    sent += chat.end()
    assert chat.error is not None
    assert not chat.stopped
    assert sent_for(upstream, plan).startswith(sent)
    assert bool(sent) == chat.started


@settings(few, max_examples=200)
@given(messages(shown_blocks | custom_blocks), plans, st.data())
def test_damaged_bytes_never_raise_and_never_break_a_frame(
    message: dict[str, Any], plan: ReplyPlan, data: st.DataObject
) -> None:
    upstream = stream(events_of(message, [4]))
    at = data.draw(st.integers(0, len(upstream) - 1))
    damage = st.binary(max_size=4) | st.sampled_from([b"\n", b"\r", b"\n\n", b'"', b"{}", b"\\ud800", b"\xff", b"null"])
    damaged = upstream[:at] + data.draw(damage) + upstream[at + data.draw(st.integers(0, 4)) :]
    chat = ChatStream(plan, created=CREATED, continue_pauses=True)
    sent = chat.feed(damaged) + chat.end()
    assert chat.stopped != (chat.error is not None)
    for frame in frames(sent):
        assert frame == ": ping" or len(frame["choices"]) == 1


@few
@given(messages(shown_blocks), plans, sizes)
def test_openai_accumulates_our_stream_to_our_plain_answer(
    message: dict[str, Any], plan: ReplyPlan, text_sizes: list[int]
) -> None:
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    for chunk in frames(sent_for(stream(events_of(message, text_sizes)), plan)):
        if isinstance(chunk, dict):
            state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    # Not get_final_completion: it would parse, and refuses an answer that was cut off.
    assert comparable(state.current_completion_snapshot.to_dict()) == comparable(plain(message, plan))


@few
@given(messages(text_blocks | thinking_blocks | tool_blocks | custom_blocks), plans, sizes)
def test_deltas_with_custom_tools_add_up_to_our_plain_answer(
    message: dict[str, Any], plan: ReplyPlan, text_sizes: list[int]
) -> None:
    added: dict[object, object] = {}
    finish_reason = None
    for chunk in frames(sent_for(stream(events_of(message, text_sizes)), plan)):
        if isinstance(chunk, dict) and chunk["choices"]:
            choice = chunk["choices"][0]
            accumulate_delta(added, choice["delta"])
            finish_reason = choice["finish_reason"]
    expected = plain(message, plan)["choices"][0]
    assert comparable_message({str(key): value for key, value in added.items()}) == comparable_message(
        expected["message"]
    )
    assert finish_reason == expected["finish_reason"]


@few
@given(messages(shown_blocks | custom_blocks), sizes, sizes)
def test_the_message_of_a_stream_is_the_message_that_was_streamed(
    message: dict[str, Any], text_sizes: list[int], chunk_sizes: list[int]
) -> None:
    accumulator = MessageAccumulator()
    for chunk in cut(stream(events_of(message, text_sizes)), chunk_sizes):
        accumulator.feed(chunk)
    assert json.loads(accumulator.message()) == message


def plain(message: dict[str, Any], plan: ReplyPlan) -> dict[str, Any]:
    body = json.dumps(message, ensure_ascii=False).encode()
    completion: dict[str, Any] = json.loads(to_chat([[body]], plan, created=CREATED).body)
    return completion


def comparable(completion: dict[str, Any]) -> dict[str, Any]:
    (choice,) = completion["choices"]
    return {**completion, "choices": [{**choice, "message": comparable_message(choice["message"])}]}


def comparable_message(message: dict[str, Any]) -> dict[str, Any]:
    """Without what a stream cannot tell (null from empty), its ``index`` of entries, and what openai's helper adds."""
    fields = {key: _bare(value) for key, value in message.items()}
    return {key: value for key, value in fields.items() if value not in ("", None, [])}


def _bare(value: Any) -> Any:
    match value:
        case list():
            return [_bare(entry) for entry in value]
        case dict():
            return {key: _bare(item) for key, item in value.items() if key not in ("index", "parsed_arguments")}
        case _:
            return value

from __future__ import annotations

from msgspec import Raw

from app.domain.calls import Usage
from app.schemas.openai_chat_reply import ChunkDelta
from app.translate.chat_chunks import ChunkWriter
from app.translate.usage import chat_usage
from tests.support.chat_frames import frames

ENVELOPE = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": 'mo"del'}


def writer(*, with_usage: bool = False, index: int = 0) -> ChunkWriter:
    return ChunkWriter(id="chatcmpl-1", created=7, model='mo"del', index=index, with_usage=with_usage)


def choice(delta: object, *, index: int = 0, finish_reason: str | None = None) -> dict[str, object]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def test_the_first_chunk_opens_the_message() -> None:
    opening = choice({"role": "assistant", "content": ""})
    assert frames(writer().first(service_tier=None)) == [{**ENVELOPE, "choices": [opening]}]


def test_the_first_chunk_names_a_known_service_tier() -> None:
    assert frames(writer().first(service_tier="default"))[0]["service_tier"] == "default"


def test_a_chunk_belongs_to_its_choice() -> None:
    sent = writer(index=3).delta(ChunkDelta(refusal="No."))
    assert frames(sent) == [{**ENVELOPE, "choices": [choice({"refusal": "No."}, index=3)]}]


def test_every_chunk_speaks_of_usage_only_when_it_was_asked_for() -> None:
    with_usage = writer(with_usage=True)
    text = with_usage.text_frame(b'{"content":', b"}")
    sent = with_usage.first(service_tier=None) + text("a") + with_usage.delta(ChunkDelta()) + with_usage.finish("stop")
    assert [frame["usage"] for frame in frames(sent)] == [None] * 4
    assert b"usage" not in writer().finish("stop")


def test_a_text_frame_puts_any_text_in_one_line() -> None:
    text = 'quote " slash \\ line\nbreak\r\u2028\x85 nul\x00 déjà 👍'
    sent = writer().text_frame(b'{"content":', b"}")(text)
    assert frames(sent) == [{**ENVELOPE, "choices": [choice({"content": text})]}]


def test_a_line_break_between_tokens_of_raw_json_is_taken_out() -> None:
    sent = writer().delta(ChunkDelta(thinking_blocks=[Raw(b'{"type":"thinking",\n"thinking":"a\\nb"}')]))
    assert frames(sent)[0]["choices"][0]["delta"]["thinking_blocks"] == [{"type": "thinking", "thinking": "a\nb"}]


def test_the_last_chunk_of_a_choice_says_why_it_ended() -> None:
    assert frames(writer().finish("length")) == [{**ENVELOPE, "choices": [choice({}, finish_reason="length")]}]


def test_the_usage_chunk_has_no_choice() -> None:
    (chunk,) = frames(writer(with_usage=True).usage(chat_usage(Usage(input_tokens=2, output_tokens=3))))
    assert chunk["choices"] == []
    assert chunk["usage"]["total_tokens"] == 5

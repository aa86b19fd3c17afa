"""A recorded answer: every release reads what another one has kept."""

from __future__ import annotations

import msgspec
import pytest

from app.domain.recording import RecordedAnswer, RecordedReply, decode_recording, encode_recording

ANSWER = RecordedAnswer(
    created=5,
    choices=((RecordedReply(True, b"a"), RecordedReply(True, b"b")), (RecordedReply(False, b"{}"),)),
    headers={"request-id": "req_1"},
    forced_tool_refused=True,
    told={"x-claude-wrapper-session": "trip"},
)


def test_what_is_kept_comes_back() -> None:
    assert decode_recording(encode_recording(ANSWER)) == ANSWER


def test_what_an_earlier_release_has_kept_is_read() -> None:
    fields = msgspec.to_builtins(ANSWER, builtin_types=(bytes,))
    earlier = decode_recording(msgspec.msgpack.encode(fields[:4]))
    assert earlier == msgspec.structs.replace(ANSWER, told={})


def test_what_a_later_release_has_added_is_passed_over() -> None:
    fields = msgspec.to_builtins(ANSWER, builtin_types=(bytes,))
    assert decode_recording(msgspec.msgpack.encode([*fields, "new"])) == ANSWER


@pytest.mark.parametrize("damaged", [b"", b"nonsense", encode_recording(ANSWER)[:-1]])
def test_what_cannot_be_read_is_absent(damaged: bytes) -> None:
    assert decode_recording(damaged) is None

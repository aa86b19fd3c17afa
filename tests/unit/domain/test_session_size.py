from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from app.domain.prompt_size import EXPECTED_IMAGE_TOKENS, EXPECTED_PAGE_TOKENS, MOST_IMAGE_TOKENS
from app.domain.session_size import session_size
from app.domain.sessions import SessionHead, SessionHistory, StoredTurn

WINDOW = 1_000_000


def raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


def history(*turns: list[dict[str, Any]], instructions: Any = (), answer: Any = None) -> SessionHistory:
    said = b"" if answer is None else raw(answer)
    stored = tuple(
        StoredTurn(at=1.0, messages=raw(messages), count=len(messages), answer=Raw(said)) for messages in turns
    )
    return SessionHistory(SessionHead(seq=1, instructions=raw(instructions)), stored)


def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": parts[0] if isinstance(parts[0], str) else list(parts)}]


def size(of: SessionHistory, window: int = WINDOW) -> tuple[int, int]:
    found = session_size(of, context_tokens=window)
    assert found.cache_lifetime == ""
    return found.expected_tokens, found.most_tokens


def test_text_counts_by_its_bytes_wherever_it_stands() -> None:
    text = "x" * 4000
    plain, _ = size(history(user(text)))
    for longer in (
        history(user(text + text)),
        history(user(text), user(text)),
        history(user(text), instructions=[{"role": "system", "content": text}]),
        history(user(text), answer=[{"type": "text", "text": text}]),
    ):
        expected, most = size(longer)
        assert 990 <= expected - plain <= 1020
        assert most > 4000


def test_an_empty_session_adds_next_to_nothing() -> None:
    assert size(history())[0] == 1


@pytest.mark.parametrize(
    "url", [{"url": "https://x.test/a.png"}, "https://x.test/a.png", {"url": "DATA:image/png;base64,AAAA"}]
)
def test_an_image_costs_what_images_cost_and_not_its_bytes(url: Any) -> None:
    without = size(history(user({"type": "text", "text": "hi"})))
    found = size(history(user({"type": "text", "text": "hi"}, {"type": "image_url", "image_url": url})))
    assert EXPECTED_IMAGE_TOKENS <= found[0] - without[0] < EXPECTED_IMAGE_TOKENS + 30
    assert MOST_IMAGE_TOKENS <= found[1] - without[1] < MOST_IMAGE_TOKENS + 100


def test_a_large_image_in_a_result_of_a_tool_is_not_taken_for_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    expected, most = size(history([{"role": "tool", "tool_call_id": "a", "content": [image]}]))
    assert expected < EXPECTED_IMAGE_TOKENS + 50
    assert most < MOST_IMAGE_TOKENS + 5000


@pytest.mark.parametrize(
    "file",
    [
        {"file_data": "data:application/PDF;base64," + "A" * 70_000},
        {"file_data": "A" * 70_000, "filename": "Report.PDF"},
        {"file_id": "file_0123"},
    ],
)
def test_a_document_may_fill_the_window(file: Any) -> None:
    expected, most = size(history(user({"type": "file", "file": file})))
    assert EXPECTED_PAGE_TOKENS <= expected < 2 * EXPECTED_PAGE_TOKENS + 50
    assert most == WINDOW


@pytest.mark.parametrize(
    "file", [{"file_data": "data:text/plain;base64," + "A" * 4000}, {"file_data": "A" * 4000, "filename": "a.csv"}]
)
def test_a_text_file_counts_by_its_bytes(file: Any) -> None:
    expected, most = size(history(user({"type": "file", "file": file})))
    assert 980 <= expected < 1050
    assert most < WINDOW


def test_the_words_of_parts_in_a_text_are_only_text() -> None:
    assert size(history(user('say "image_url" and "file"')))[0] < 20


def test_nothing_is_larger_than_the_window() -> None:
    assert size(history(user("x" * 10_000)), window=100) == (100, 100)

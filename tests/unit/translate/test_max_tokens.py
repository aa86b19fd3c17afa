from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.translate.max_tokens import with_max_tokens
from tests.support.chat_requests import call
from tests.support.chat_strategies import chat_requests


def test_only_the_bound_changes() -> None:
    body = b'{"model":"m","max_tokens":32000,"messages":[{"role":"user","content":"\\u00e9 max_tokens 32000"}]}'
    assert with_max_tokens(body, 7) == body.replace(b'"max_tokens":32000', b'"max_tokens":7')


def test_the_body_of_a_call_keeps_every_other_byte() -> None:
    made = call({"max_tokens": 4321, "tools": [], "user": "u", "temperature": 1})
    clamped = with_max_tokens(made.body, 99)
    assert clamped == made.body.replace(b"4321", b"99", 1)


@given(chat_requests(), st.integers(0, 128_000))
def test_a_bound_put_back_gives_the_same_bytes(request: dict[str, Any], max_tokens: int) -> None:
    made = call(request)
    clamped = with_max_tokens(made.body, max_tokens)
    assert json.loads(clamped) == {**json.loads(made.body), "max_tokens": max_tokens}
    assert with_max_tokens(clamped, made.max_tokens) == made.body

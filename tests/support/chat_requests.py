"""Chat requests through the request translation: short helpers for its tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.domain.calls import MessagesCall
from app.domain.models import ModelTable
from app.errors import RequestError
from app.translate.chat_to_messages import TranslationSettings, decode_chat_request, to_messages

MODELS_TOML = (Path(__file__).parents[2] / "app/domain/models.toml").read_text(encoding="utf-8")
MODELS = ModelTable.load(MODELS_TOML)

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello."}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def call(
    request: dict[str, Any],
    *,
    models: ModelTable = MODELS,
    thinking_tokens: int | None = None,
    strict: bool | None = None,
    **settings: Any,
) -> MessagesCall:
    """Translates a request; model, messages and no automatic caching are filled in where they do not matter."""
    body = json.dumps({"model": "claude-opus-5-5", "messages": HELLO, **request}).encode()
    chosen = TranslationSettings(**{"auto_cache": "off", **settings})
    return to_messages(decode_chat_request(body), models, chosen, thinking_tokens=thinking_tokens, strict=strict)


def sent(request: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The upstream body of a request."""
    body: dict[str, Any] = json.loads(call(request, **options).body)
    return body


def ignored(request: dict[str, Any], **options: Any) -> tuple[str, ...]:
    """The paths reported as ignored."""
    return call(request, **options).report.ignored


def adjusted(request: dict[str, Any], **options: Any) -> dict[str, str]:
    """The paths reported as adjusted, and what became of them."""
    return dict(call(request, **options).report.adjusted)


def refusal(request: dict[str, Any], **options: Any) -> RequestError:
    """The error a request is refused with."""
    with pytest.raises(RequestError) as caught:
        call(request, **options)
    return caught.value


def with_facts(id_: str, **columns: Any) -> ModelTable:
    """The table with some columns of one model changed."""
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in columns.items())
    return ModelTable.load(MODELS_TOML, f"[models.{id_}]\n{lines}")

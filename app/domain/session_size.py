"""How long a prompt the history of a session makes, before it is asked for; pure.

The limits are decided where the history is not at hand, so its size is kept beside them, at the session's *seat*. A
message is no shorter as OpenAI writes it than as Anthropic does, so the rules of ``prompt_size`` hold of what is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Raw, Struct

from app.domain.prompt_size import Media, PromptSize, prompt_size
from app.domain.sessions import SessionHistory


class _Url(Struct, gc=False):
    url: str = ""


class _File(Struct, gc=False):
    file_data: str | None = None
    filename: str | None = None


class _Part(Struct, gc=False):
    image_url: _Url | str | None = None
    file: _File | None = None


class _Message(Struct, gc=False):
    content: list[_Part] | str | None = None


_MESSAGES: Final = msgspec.json.Decoder(list[_Message])


def session_size(history: SessionHistory, *, context_tokens: int) -> PromptSize:
    """What the history of a session adds to a prompt.

    Args:
        history: instructions and turns that are kept; the figures of its head are not looked at.
        context_tokens: the largest context window that the next turn may have.
    """
    turns = history.turns
    asked = (history.head.instructions, *(turn.messages for turn in turns))
    return prompt_size(
        len(history.head.instructions) + sum(turn.size_bytes for turn in turns),
        messages=sum(turn.message_count for turn in turns),
        media=_media_in(asked),
        context_tokens=context_tokens,
        cache_lifetime="",
    )


def _media_in(asked: Iterable[Raw]) -> Media:
    media = Media()
    for messages in asked:
        written = bytes(messages)
        if b'"image_url"' in written or b'"file"' in written:
            for message in _MESSAGES.decode(written):
                for part in message.content if isinstance(message.content, list) else ():
                    _count(part, media)
    return media


def _count(part: _Part, media: Media) -> None:
    if part.image_url is not None:
        url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
        media.images += 1
        media.image_chars += len(url) if _is_data(url) else 0
    if part.file is not None:
        data = part.file.file_data
        if data is None:
            media.files += 1
        elif _is_pdf(data, part.file.filename or ""):
            media.pdfs += 1
            media.pdf_chars += len(data)


def _is_pdf(data: str, filename: str) -> bool:
    if _is_data(data):
        return "application/pdf" in data[:256].partition(",")[0].lower()
    return filename.lower().endswith(".pdf")


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"

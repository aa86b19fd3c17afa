"""Images and documents: sources, media types, and how many."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Final

from msgspec import UNSET

from app.domain.models import ModelFacts
from workers.simulator.errors import Invalid
from workers.simulator.wire import (
    Base64Image,
    Base64Pdf,
    ContentSource,
    CountTokensRequest,
    DocumentBlock,
    ImageBlock,
    PlainText,
    ToolResultBlock,
    UrlSource,
)

#: Images and pages a request may have, and on models with a context of 200,000 tokens.
MAX_IMAGES: Final = 600
MAX_IMAGES_SMALL: Final = 100
_SMALL_CONTEXT: Final = 200_000

_STARTS: Final = {
    "image/jpeg": (b"\xff\xd8",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
    "application/pdf": (b"%PDF",),
}


def check_media(request: CountTokensRequest, facts: ModelFacts) -> None:
    """Checks every image and document, also inside tool results and documents.

    Raises:
        Invalid: names the block.
    """
    images = 0
    for index, message in enumerate(request.messages):
        if isinstance(message.content, str):
            continue
        for block, path in _media(message.content, f"messages.{index}.content"):
            if isinstance(block, ImageBlock):
                images += 1
                _check_image(block, f"{path}.image.source", facts)
            else:
                _check_document(block, f"{path}.document.source", facts)
    limit = MAX_IMAGES_SMALL if facts.context_tokens <= _SMALL_CONTEXT else MAX_IMAGES
    if images > limit:
        raise Invalid(f"Too many images: {images} > {limit} maximum", "messages")


def _media(blocks: list[Any], path: str) -> Iterator[tuple[ImageBlock | DocumentBlock, str]]:
    for number, block in enumerate(blocks):
        here = f"{path}.{number}"
        if isinstance(block, (ImageBlock, DocumentBlock)):
            yield block, here
            if isinstance(block, DocumentBlock) and isinstance(block.source, ContentSource):
                content: Any = block.source.content
                if not isinstance(content, str):
                    yield from _media(content, f"{here}.document.source.content.content")
        elif isinstance(block, ToolResultBlock) and block.content is not UNSET and not isinstance(block.content, str):
            yield from _media(block.content, f"{here}.tool_result.content")


def _check_image(block: ImageBlock, path: str, facts: ModelFacts) -> None:
    if not facts.vision:
        raise Invalid("This model does not support images.", path)
    if isinstance(block.source, Base64Image):
        start = _decoded_start(block.source.data, f"{path}.base64")
        if not start.startswith(_STARTS[block.source.media_type]):
            message = f"Image does not match the provided media type {block.source.media_type}"
            raise Invalid(message, f"{path}.base64.data")
    elif isinstance(block.source, UrlSource):
        _check_url(block.source.url, f"{path}.url")


def _check_document(block: DocumentBlock, path: str, facts: ModelFacts) -> None:
    source = block.source
    if isinstance(source, Base64Pdf):
        if not facts.pdf:
            raise Invalid("This model does not support PDF documents.", path)
        if not _decoded_start(source.data, f"{path}.base64").startswith(_STARTS["application/pdf"]):
            raise Invalid("The PDF specified was not valid.", f"{path}.base64.data")
    elif isinstance(source, PlainText):
        if not source.data:
            raise Invalid("document content must be non-empty", f"{path}.text.data")
    elif isinstance(source, UrlSource):
        _check_url(source.url, f"{path}.url")


def _decoded_start(data: str, path: str) -> bytes:
    """The first bytes of base64 data that is sound as a whole."""
    try:
        return base64.b64decode(data, validate=True)[:16]
    except (binascii.Error, ValueError) as error:
        raise Invalid("Invalid base64 data", f"{path}.data") from error


def _check_url(url: str, path: str) -> None:
    if not url.startswith(("https://", "http://")):
        raise Invalid("Only HTTP and HTTPS URLs are supported.", f"{path}.url")

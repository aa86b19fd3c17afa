"""Content parts: OpenAI's text, images and files as Anthropic's blocks (``spec/chat-completions.md`` section 2)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from msgspec import UNSET, Raw, Struct

from app.domain.models import ModelFacts
from app.domain.prompt_size import Media
from app.errors import InvalidRequest
from app.schemas import anthropic
from app.schemas import openai_chat as openai
from app.translate.notes import Notes
from app.translate.prompt_caching import CacheMarkers
from app.translate.settings import TranslationSettings

#: Anthropic's bound on images in one request.
MAX_IMAGES: Final = 600

_IMAGE_TYPES: Final = {
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/png": "image/png",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
_TEXT_TYPES: Final = frozenset(
    {"application/json", "application/csv", "application/xml", "application/x-yaml", "application/yaml"}
)
_TEXT_ENDINGS: Final = (".txt", ".md", ".csv", ".json", ".xml", ".yaml", ".yml", ".html", ".log")
_BASE64_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PADDINGS: Final = (b'""', b'"="', b'"=="')
_DATA_URL: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_FILE_ID: Final = re.compile(r"file_[A-Za-z0-9_-]{1,128}")

ContentBlock = anthropic.TextBlock | anthropic.ImageBlock | anthropic.DocumentBlock


class DataURL(Struct, frozen=True):
    """What a ``data:`` URL says of its data, which begins at ``start``."""

    media_type: str
    is_base64: bool
    start: int


class ContentTranslator:
    """Translates the parts of one request.

    Attributes:
        media: what of it was not text, so far.
    """

    def __init__(self, facts: ModelFacts, settings: TranslationSettings, markers: CacheMarkers, notes: Notes) -> None:
        self._facts = facts
        self._strip_audio = settings.input_audio == "strip"
        self._markers = markers
        self._notes = notes
        self.media = Media()

    def blocks(
        self, content: str | Sequence[openai.UserPart | openai.AssistantPart] | None, message_index: int
    ) -> list[ContentBlock]:
        """The blocks of a message's content; what is empty or blank leaves none.

        Args:
            content: text or parts.
            message_index: where the message stands, for the paths of what has to be reported.

        Raises:
            InvalidRequest: a part cannot be served; ``param`` is its path.
        """
        if not content:
            return []
        if isinstance(content, str):
            return [] if content.isspace() else [anthropic.TextBlock(content)]
        path = f"messages[{message_index}].content"
        blocks: list[ContentBlock] = []
        for index, part in enumerate(content):
            block = self._block(part, path, index)
            if block is not None:
                blocks.append(block)
            if part.cache_control is not None or part.prompt_cache_breakpoint is not None:
                self._markers.mark_part(part, block, f"{path}[{index}]")
        return blocks

    def _block(self, part: openai.UserPart | openai.AssistantPart, path: str, index: int) -> ContentBlock | None:
        if isinstance(part, openai.TextPart):
            return None if _is_blank(part.text) else anthropic.TextBlock(part.text)
        here = f"{path}[{index}]"
        if isinstance(part, openai.ImagePart):
            return self._image(part, f"{here}.image_url")
        if isinstance(part, openai.FilePart):
            return self._file(part.file, f"{here}.file")
        if isinstance(part, openai.RefusalPart):
            return None if _is_blank(part.refusal) else anthropic.TextBlock(part.refusal)
        if not self._strip_audio:
            raise InvalidRequest(
                "Claude does not take audio. Send a transcript as text instead.", param=here, code="unsupported_value"
            )
        self._notes.ignore(here, "Claude does not take audio")
        return None

    def _image(self, part: openai.ImagePart, path: str) -> anthropic.ImageBlock:
        if not self._facts.vision:
            raise InvalidRequest(f"{self._facts.id} does not take images.", param=path, code="unsupported_value")
        self.media.images += 1
        if self.media.images > MAX_IMAGES:
            raise InvalidRequest(f"A request has at most {MAX_IMAGES} images.", param=path, code="invalid_value")
        image = part.image_url
        url = image if isinstance(image, str) else image.url
        if not isinstance(image, str) and image.detail not in (None, "auto"):
            self._notes.ignore(f"{path}.detail", "Claude always looks at an image in full detail")
        if url[:8].lower().startswith(("http://", "https://")):
            return anthropic.ImageBlock(anthropic.URLSource(url))
        data = split_data_url(url)
        if data is None:
            raise InvalidRequest(
                "An image is an http(s) URL or a data URL such as 'data:image/png;base64,...'.",
                param=f"{path}.url",
                code="invalid_value",
            )
        media_type = _IMAGE_TYPES.get(data.media_type)
        if media_type is None or not data.is_base64:
            raise InvalidRequest(
                "An image by content is base64 of type image/jpeg, image/png, image/gif or image/webp.",
                param=f"{path}.url",
                code="invalid_image_format",
            )
        content = checked_base64(url, data.start, f"{path}.url")
        self.media.image_chars += len(content)
        return anthropic.ImageBlock(anthropic.Base64Source(media_type, content))

    def _file(self, file: openai.FileData, path: str) -> anthropic.DocumentBlock:
        title = file.filename or UNSET
        if file.file_data is None:
            self.media.files += 1
            return anthropic.DocumentBlock(anthropic.FileSource(_file_id(file.file_id, path)), title)
        if file.file_id is not None:
            self._notes.ignore(f"{path}.file_id", "file_data is taken instead")
        here = f"{path}.file_data"
        data = split_data_url(file.file_data) or _bare_file(file)
        if data.media_type == "application/pdf" and data.is_base64:
            if not self._facts.pdf:
                raise InvalidRequest(f"{self._facts.id} does not take PDFs.", param=here, code="unsupported_value")
            pdf = checked_base64(file.file_data, data.start, here)
            self.media.pdfs += 1
            self.media.pdf_chars += len(pdf)
            return anthropic.DocumentBlock(anthropic.Base64Source("application/pdf", pdf), title)
        if not (data.media_type.startswith("text/") or data.media_type in _TEXT_TYPES):
            raise InvalidRequest(
                "A file is a PDF in base64, or text (text/*, JSON, CSV): a data URL, or base64 and a filename that"
                " tells.",
                param=here,
                code="unsupported_value",
            )
        text = _decoded_text(file.file_data[data.start :], here, is_base64=data.is_base64)
        return anthropic.DocumentBlock(anthropic.TextSource(text), title)


def split_data_url(url: str) -> DataURL | None:
    """Takes a ``data:`` URL apart; None when it is not one."""
    match = _DATA_URL.match(url[:256])
    if match is None:
        return None
    parameters = match[2].lower().split(";")
    return DataURL(match[1].strip().lower(), "base64" in parameters, match.end())


def checked_base64(text: str, start: int, path: str) -> Raw:
    """Base64 as a JSON string, checked character by character so that it can be spliced without escaping.

    About 1 ms per MB, not much more than escaping it would cost. Copies are few on purpose: images are large.

    Args:
        text: the base64, with something before it.
        start: where it begins.
        path: of ``text`` in the request.

    Raises:
        InvalidRequest: it is empty or not base64.
    """
    quoted = b"".join((b'"', memoryview(text.encode())[start:], b'"'))
    rest = quoted.translate(None, _BASE64_ALPHABET)
    if rest not in _PADDINGS:  # MIME wraps its lines
        quoted = b"".join(quoted.split())
        rest = quoted.translate(None, _BASE64_ALPHABET)
    if rest not in _PADDINGS or not quoted.endswith(rest[1:]) or len(quoted) % 4 != 2 or len(quoted) == 2:
        raise InvalidRequest("This is not valid base64.", param=path, code="invalid_value")
    return Raw(quoted)


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _bare_file(file: openai.FileData) -> DataURL:
    """Base64 without a data URL: the file's name tells what it is."""
    name = (file.filename or "").lower()
    media_type = "application/pdf" if name.endswith(".pdf") else "text/plain" if name.endswith(_TEXT_ENDINGS) else ""
    return DataURL(media_type, is_base64=True, start=0)


def _file_id(file_id: str | None, path: str) -> str:
    if file_id is None:
        raise InvalidRequest(
            f"Missing required parameter: '{path}.file_data'.",
            param=f"{path}.file_data",
            code="missing_required_parameter",
        )
    if not _FILE_ID.fullmatch(file_id):
        raise InvalidRequest(
            "Files uploaded to OpenAI are not available here. Send file_data, or the id of a file uploaded to Anthropic"
            " ('file_...').",
            param=f"{path}.file_id",
            code="unsupported_value",
        )
    return file_id


def _decoded_text(data: str, path: str, *, is_base64: bool) -> str:
    """Text of a file: base64, or percent-encoded as data URLs are without it."""
    try:
        content = binascii.a2b_base64(data.encode(), strict_mode=True) if is_base64 else unquote_to_bytes(data)
        text = content.decode()
    except binascii.Error:
        raise InvalidRequest("This is not valid base64.", param=path, code="invalid_value") from None
    except UnicodeDecodeError:
        raise InvalidRequest("A text file must be UTF-8.", param=path, code="invalid_value") from None
    if _is_blank(text):
        raise InvalidRequest("The file is empty.", param=path, code="invalid_value")
    return text

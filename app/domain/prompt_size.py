"""How long a prompt is, before Anthropic has counted it: what to expect, and what it cannot exceed; pure.

Both come from the length of the finished request and what was counted while it was translated, so a long conversation
is not walked again. The expectation is the basis of rates and of calls that broke off before Anthropic counted; the
bound is the basis of hard budgets.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

#: Four bytes of text are about one token; the simulator counts exactly so.
BYTES_PER_TOKEN: Final = 4

#: What an image costs on most models (1568 pixels on the long edge, ``vision`` page of Anthropic's documentation).
EXPECTED_IMAGE_TOKENS: Final = 1600

#: The most that an image can cost, wherever it comes from: Anthropic scales it down to 2576 pixels on the long edge
#: (from Opus 4.7 on, 1568 before), and a token is a square of 28 x 28 pixels: (2576 / 28) squared. Source: ``vision``
#: page of Anthropic's documentation, 2026.
MOST_IMAGE_TOKENS: Final = 92 * 92

#: A page of a PDF is its text and an image, 1,500 to 3,000 tokens (``pdf-support`` page); a page in 64 KiB of base64 is
#: a guess, as is one page for a file that was uploaded before.
EXPECTED_PAGE_TOKENS: Final = 2000
_PAGE_CHARS: Final = 65_536

#: JSON around the prompt, and around each message, that is no prompt.
_ENVELOPE_BYTES: Final = 90
_MESSAGE_BYTES: Final = 40

#: What Anthropic adds to a prompt of its own: up to 804 tokens for tool use (``tool-use`` page), some for structured
#: output and thinking. Generous, since nobody promises a bound; what frames a message is below its 40 bytes of JSON.
_ADDED_TOKENS: Final = 4096

CacheLifetime = Literal["", "5m", "1h"]


class Media(Struct):
    """What of a request is not text; counted while it is translated.

    Args:
        images: by content or by address.
        image_chars: base64 of images in the request.
        pdfs: by content.
        pdf_chars: base64 of PDFs in the request.
        files: documents uploaded before, of unknown size.
    """

    images: int = 0
    image_chars: int = 0
    pdfs: int = 0
    pdf_chars: int = 0
    files: int = 0

    @property
    def has_documents(self) -> bool:
        """Whether there are documents whose tokens their bytes do not bound."""
        return bool(self.pdfs or self.files)


class PromptSize(Struct, frozen=True, kw_only=True):
    """The size of one prompt.

    Args:
        expected_tokens: the best guess.
        most_tokens: it has no more than these, however it is cut into tokens and cached.
        cache_lifetime: the longest for which parts of it may be written to the prompt cache; empty: nothing is.
    """

    expected_tokens: int = 0
    most_tokens: int = 0
    cache_lifetime: CacheLifetime = ""


def prompt_size(
    body_bytes: int, *, messages: int, media: Media, context_tokens: int, cache_lifetime: CacheLifetime
) -> PromptSize:
    """The size of the prompt of a Messages request.

    A token of text stands for at least one byte of its UTF-8, and JSON never shortens a text, so no text has more
    tokens than its JSON has bytes. Documents are compressed or elsewhere: only the context window bounds them.

    Args:
        body_bytes: length of the request as JSON.
        messages: how many it has.
        media: what of it is not text.
        context_tokens: the model's context window; a longer prompt is refused, and costs nothing.
        cache_lifetime: the longest that any of its cache markers asks for.
    """
    text_bytes = body_bytes - media.image_chars - media.pdf_chars
    prompt_bytes = max(text_bytes - _ENVELOPE_BYTES - messages * _MESSAGE_BYTES, BYTES_PER_TOKEN)
    pages = media.pdfs + media.files + media.pdf_chars // _PAGE_CHARS
    expected = prompt_bytes // BYTES_PER_TOKEN + media.images * EXPECTED_IMAGE_TOKENS + pages * EXPECTED_PAGE_TOKENS
    most = text_bytes + media.images * MOST_IMAGE_TOKENS + _ADDED_TOKENS
    return PromptSize(
        expected_tokens=min(expected, context_tokens),
        most_tokens=context_tokens if media.has_documents else min(most, context_tokens),
        cache_lifetime=cache_lifetime,
    )

"""JSON that is only forwarded, kept as ``msgspec.Raw``: whether it says anything."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, Raw, UnsetType

_WHITE_SPACE: Final = b" \t\r\n"


def given_bytes(raw: Raw | UnsetType) -> bytes:
    """The bytes of a field; none when it is absent or null, which OpenAI's clients send for absent."""
    value = b"" if raw is UNSET else bytes(raw)
    return b"" if value == b"null" else value


def is_given(raw: Raw | UnsetType) -> bool:
    """Whether a field says anything: null, ``[]`` and ``{}`` do not."""
    return given_bytes(raw).translate(None, _WHITE_SPACE) not in (b"", b"[]", b"{}")

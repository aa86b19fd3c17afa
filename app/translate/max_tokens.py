"""Another bound on the answer of a Messages request: near the end of a budget it has to be smaller."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_ENCODER: Final = msgspec.json.Encoder()


def with_max_tokens(body: bytes, max_tokens: int) -> bytes:
    """A Messages request with another ``max_tokens``; all other values keep their bytes and their place.

    Args:
        body: the request, encoded.
        max_tokens: at least the call's ``least_tokens``: budgets of thinking are not touched.
    """
    fields = _FIELDS.decode(body)
    fields["max_tokens"] = Raw(b"%d" % max_tokens)
    return _ENCODER.encode(fields)

"""What decoding raises on a value of the store that another release wrote, or that is damaged: it counts as absent."""

from __future__ import annotations

from typing import Final

import msgspec

#: Of msgspec's decoders: wrong values, bytes that are no UTF-8, and nesting without end.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

"""Which of several media types a client would rather have: the header ``Accept`` of RFC 9110, section 12.5.1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from litestar.types import Scope

#: A weight: at most three digits behind the point.
_WEIGHT: Final = re.compile(r"(0(\.\d{0,3})?|1(\.0{0,3})?)")


def accepted(scope: Scope) -> str:
    """The header of a request; several are one list."""
    return ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")


def preferred(accept: str, offered: Sequence[str]) -> str:
    """The offered type that the client would rather have; of equals, and where it wants none, the first.

    Args:
        accept: the header; empty stands for anything.
        offered: media types without parameters, the best first.
    """
    weights = _weights(accept)
    return max(offered, key=lambda media_type: _weight_of(media_type, weights))


def _weights(accept: str) -> dict[str, float]:
    """Media ranges and what they weigh; those that cannot be read are left out."""
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        media_range, *parameters = (word.strip() for word in part.split(";"))
        weight = next((text[2:].strip() for text in parameters if text.startswith("q=")), "1")
        if media_range and _WEIGHT.fullmatch(weight):
            weights[media_range] = float(weight)
    return weights


def _weight_of(media_type: str, weights: dict[str, float]) -> float:
    """By the range that says most about it."""
    family = media_type.partition("/")[0]
    for media_range in (media_type, f"{family}/*", "*/*"):
        if media_range in weights:
            return weights[media_range]
    return 0.0

"""Numbers that were read from elsewhere, bounded so that whoever adds, divides and shows them never overflows; pure."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

#: A count or an amount, of 18 digits at most, such as Anthropic's headers are read to.
Count = Annotated[int, Meta(ge=0, le=10**18)]
#: A measured value or a moment. Clocks are not exact, so it may be a little below 0.
Measure = Annotated[float, Meta(ge=-1e15, le=1e15)]

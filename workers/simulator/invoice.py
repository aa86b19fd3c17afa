"""What Anthropic would bill for the calls that were answered, so that a gateway's books can be compared with it.

A call is booked when its reply is over, in one of these ways:

- ``completed``: the whole answer went out. Its usage, as the answer states it.
- ``cancelled``: the client closed the connection before. The input side whole, and the output tokens made until then:
  those whose time had come by the clock, and those of every delta that was due, whether or not the client read it.
  Thinking that is not shown is made at the same pace as everything else. Without a pace all tokens are made with the
  first one, at ``ttft_ms``. A plain reply that the client does not wait for counts the same.
- ``broken``: a script broke the answer after ``message_start``: cut, reset, an error event, or silence (booked when the
  client gives up). The input side whole, and the tokens of the deltas that went out whole. A plain reply is made before
  its first byte goes out, so all of it is billed.
- ``refused``: an HTTP error, nonsense in place of an answer, or a break before ``message_start``. Counted, not billed.

A web search is billed once an output token after thinking was made: the first one calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from workers.simulator.reply import Usage
from workers.simulator.schedule import Bill, Part

Outcome = Literal["completed", "cancelled", "broken"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("completed", "cancelled", "broken")

#: A part that is due within this time goes out with the one before it.
TOGETHER_S: Final = 0.0005


class Line(Struct, kw_only=True):
    """Calls and what was billed for them; names as in ``usage``."""

    calls: int = 0
    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    web_search_requests: int = 0

    def book(self, usage: Usage) -> None:
        """Adds one call."""
        self.calls += 1
        self.input_tokens += usage.input_tokens
        self.cache_creation_input_tokens += usage.cache_creation_input_tokens
        self.ephemeral_5m_input_tokens += usage.cache_creation.ephemeral_5m_input_tokens
        self.ephemeral_1h_input_tokens += usage.cache_creation.ephemeral_1h_input_tokens
        self.cache_read_input_tokens += usage.cache_read_input_tokens
        self.output_tokens += usage.output_tokens
        if usage.server_tool_use is not None:
            self.web_search_requests += usage.server_tool_use.web_search_requests


class Charge(Struct, frozen=True):
    """How a call ended and what of its usage is billed."""

    outcome: Outcome
    usage: Usage


def charge_of(bill: Bill, parts: Sequence[Part], left_at_s: float | None) -> Charge:
    """What is billed for a call that is over.

    Args:
        bill: of the call.
        parts: of its reply.
        left_at_s: when the client left, in seconds after the request came; ``None`` when everything had gone out that
            was to go out.
    """
    if left_at_s is not None:
        due = (part.made for part in parts if part.due_s <= left_at_s + TOGETHER_S)
        return Charge("cancelled", _billed(bill, max(bill.made_by(left_at_s), max(due, default=0))))
    if bill.whole:
        return Charge("completed", bill.usage)
    return Charge("broken", _billed(bill, max(part.made for part in parts)) if bill.streamed else bill.usage)


def _billed(bill: Bill, made: int) -> Usage:
    """The usage of an answer of which so many output tokens were made; its deltas may count one more than it has."""
    usage = bill.usage
    thinking = usage.output_tokens_details.thinking_tokens if usage.output_tokens_details is not None else 0
    return msgspec.structs.replace(
        usage,
        output_tokens=min(made, usage.output_tokens),
        server_tool_use=usage.server_tool_use if made > thinking else None,
    )


class Invoice:
    """Totals of the calls since the start or the last ``clear``."""

    def __init__(self) -> None:
        self._open = 0
        self._refused = 0
        self._lines: dict[tuple[str, Outcome], Line] = {}

    def clear(self) -> None:
        """Forgets every call that is over."""
        self._refused = 0
        self._lines.clear()

    def refuse(self) -> None:
        """Counts a call that is not answered."""
        self._refused += 1

    def open(self) -> None:
        """A call is being answered."""
        self._open += 1

    def close(self, bill: Bill, parts: Sequence[Part], left_at_s: float | None) -> Charge:
        """Books a call that was open; see ``charge_of``."""
        self._open -= 1
        charge = charge_of(bill, parts, left_at_s)
        line = self._lines.get((bill.model, charge.outcome))
        if line is None:
            line = self._lines[bill.model, charge.outcome] = Line()
        line.book(charge.usage)
        return charge

    def shown(self) -> dict[str, Any]:
        """The invoice as ``GET /_simulator/invoice`` gives it; ``open`` calls are not in it yet."""
        models: dict[str, dict[str, Line]] = {}
        for (model, outcome), line in sorted(self._lines.items()):
            models.setdefault(model, {name: Line() for name in OUTCOMES})[outcome] = line
        totals: dict[str, Line] = {name: _sum([lines[name] for lines in models.values()]) for name in OUTCOMES}
        return {"open": self._open, "refused": {"calls": self._refused}, **totals, "models": models}


def _sum(lines: list[Line]) -> Line:
    return Line(**{name: sum(getattr(line, name) for line in lines) for name in Line.__struct_fields__})

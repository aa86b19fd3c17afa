"""What Anthropic would bill for the calls of the simulator's journal, in classes and money of the gateway's books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from app.domain.calls import Usage
from app.domain.pricing import cost_nano
from workers.simulator.models import load_models

_MODELS = load_models()

#: Model -> class -> tokens, calls or nano-dollars; classes as in the books of use.
Bill = dict[str, Counter[str]]


def bill_of(journal: Iterable[Mapping[str, Any]], about: str, *, outcome: str = "") -> Bill:
    """The bill of all calls about something.

    Args:
        journal: of the simulator.
        about: a text that stands in the prompt of these calls and of no others.
        outcome: of calls with this outcome only.
    """
    bill: Bill = {}
    for entry in journal:
        if entry["billed"] is None or (outcome and entry["outcome"] != outcome):
            continue
        if about in str(entry["body"]):
            usage = _usage(entry["billed"])
            model = entry["body"]["model"]
            price = _MODELS[model].price
            assert price is not None
            cost = cost_nano(price, usage)
            assert cost is not None
            bill.setdefault(model, Counter()).update(
                calls=1,
                input=usage.input_tokens,
                cache_write=usage.cache_creation_input_tokens,
                cache_read=usage.cache_read_input_tokens,
                output=usage.output_tokens,
                cost=cost,
            )
    return bill


def cost_of(bill: Bill) -> int:
    """The nano-dollars of a bill, or of a key's use, over all models."""
    return sum(counts["cost"] for counts in bill.values())


def _usage(billed: Mapping[str, Any]) -> Usage:
    return Usage(
        input_tokens=billed["input_tokens"],
        cache_creation_input_tokens=billed["cache_creation_input_tokens"],
        cache_write_1h_tokens=billed["cache_creation"]["ephemeral_1h_input_tokens"],
        cache_read_input_tokens=billed["cache_read_input_tokens"],
        output_tokens=billed["output_tokens"],
        web_search_requests=(billed.get("server_tool_use") or {}).get("web_search_requests", 0),
        speed=billed["speed"],
    )

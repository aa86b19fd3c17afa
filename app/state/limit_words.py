"""Limits as the scripts read them, in the record of a key and as an argument."""

from __future__ import annotations

from msgspec.structs import astuple

from app.domain.limits import Limits


def limit_words(limits: Limits) -> str:
    """Seven words: requests, input, output, concurrency, then budgets of day, month and all in nano-dollars.

    ``-`` is one that is not set.
    """
    return " ".join("-" if value is None else str(value) for value in astuple(limits))

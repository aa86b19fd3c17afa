"""The golden cases of the wire-format specification, copied into ``tests/golden/spec``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_CASES = Path(__file__).parent.parent / "golden" / "spec"


def golden(number: int) -> dict[str, Any]:
    """The case with this number.

    Raises:
        LookupError: there is not exactly one.
    """
    found = list(_CASES.glob(f"{number:02d}_*.json"))
    if len(found) != 1:
        raise LookupError(f"{len(found)} golden cases have the number {number}")
    case: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8"))
    return case

"""The ``server-timing`` header: what a request's time went into, as far as it is known when its reply begins; pure.

Browsers and ``curl -v`` show it. Source: W3C, Server Timing, section 3 (durations are milliseconds).
"""

from __future__ import annotations

from app.observability.record import RequestRecord
from app.observability.steps import steps_of


def server_timing(record: RequestRecord, *, now: float) -> str:
    """The value of the header, such as ``read;dur=0.2, admit;dur=0.9, upstream;dur=811.4, total;dur=812.9``.

    Args:
        record: notes of the request.
        now: of its clock.
    """
    response_s = now - record.began_at
    steps = [*steps_of(record, response_s=response_s), ("total", response_s)]
    return ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in steps)

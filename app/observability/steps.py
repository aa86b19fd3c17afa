"""The steps of a request, by the marks in its record; pure.

==========  =======================================================================================
read        the client's key was looked at, its body arrived: the client's time
translate   the body was decoded and became a request of Anthropic's
admit       key and limits were asked for, and everything that is read along with them
prepare     its session was read or waited for, kept thinking was put back
upstream    from the call to the headers of Anthropic's reply; of plain requests to its end
finish      the reply was translated and kept where it is to be kept; plain requests only: what the last
            frame of a stream waits for may be the client
==========  =======================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator

from app.observability.record import RequestRecord

#: The steps that are the gateway's own doing: if one of them is slow, something is wrong here or with the state store.
OWN_STEPS = frozenset({"translate", "admit", "prepare", "finish"})


def steps_of(record: RequestRecord, *, response_s: float) -> Iterator[tuple[str, float]]:
    """The steps that a request has taken, with their seconds, in order.

    Args:
        record: its notes.
        response_s: until its reply began.
    """
    marks = (
        ("read", record.began_at, record.read_at),
        ("translate", record.read_at, record.translated_at),
        ("admit", record.translated_at, record.admitted_at),
        ("prepare", record.admitted_at, record.sent_at),
        ("upstream", record.sent_at, record.answered_at if record.stream else record.ended_at or record.answered_at),
        ("finish", 0.0 if record.stream else record.ended_at, record.began_at + response_s),
    )
    for name, begun, done in marks:
        if begun and done:
            yield name, max(0.0, done - begun)


def overhead_s(record: RequestRecord, *, duration_s: float) -> float | None:
    """What the gateway has added: to a plain request all but its call, to a stream what came before its call.

    Args:
        record: its notes.
        duration_s: until its reply was complete.

    Returns:
        Seconds; ``None`` where there was no call, or its end is not known.
    """
    sent_at = record.sent_at
    if not sent_at:
        return None
    if record.stream:
        return sent_at - record.began_at
    return duration_s - (record.ended_at - sent_at) if record.ended_at else None


def slow_steps(record: RequestRecord, *, response_s: float, slow_s: float) -> list[tuple[str, float]]:
    """The gateway's own steps that took longer than ``slow_s``, with their seconds."""
    return [
        (name, seconds)
        for name, seconds in steps_of(record, response_s=response_s)
        if seconds > slow_s and name in OWN_STEPS
    ]

"""What of a reply is due when: pace, jitter, pings, and the faults of a script. Pure, but for the clock of ``stamp``.

A reply is a row of parts with due times counted from the request's arrival, so that delays never add up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from workers.simulator.events import PING, Event, text_delta
from workers.simulator.reply import MessageOut, Usage
from workers.simulator.script import Script


class Part(Struct, frozen=True):
    """Bytes of a body, due so many seconds after the request came; ``made`` output tokens are made once they are out.

    Where a script cuts an event or a body in pieces, its tokens come with the last of them.
    """

    due_s: float
    data: bytes
    made: int = 0


Ending = Literal["finish", "close", "reset", "hang"]


class Bill(Struct, frozen=True, kw_only=True):
    """What a call costs when it runs to its end, and how its output grows until then.

    Args:
        model: as it was asked for.
        usage: of the whole answer.
        ttft_s: when its first token is made.
        tokens_per_second: how fast the others follow; 0: all at once.
        streamed: the answer goes out as it is made.
        whole: all of the answer goes out, if the client stays; ``False`` where a script breaks it.
    """

    model: str
    usage: Usage
    ttft_s: float
    tokens_per_second: float
    streamed: bool
    whole: bool = True

    def made_by(self, elapsed_s: float) -> int:
        """Output tokens made so many seconds after the request came; token *i* is made ``ttft_s + i / rate`` after."""
        since_s = elapsed_s - self.ttft_s
        if since_s < 0:
            return 0
        total = self.usage.output_tokens
        return min(total, int(since_s * self.tokens_per_second) + 1) if self.tokens_per_second else total


class Reply(Struct, frozen=True, kw_only=True):
    """What is to be sent.

    Args:
        status: HTTP status.
        headers: complete header lines, without the framing ones.
        parts: the body, in order of time.
        chunked: framed as chunks, else with the length of ``full_bytes``.
        full_bytes: the length that is announced.
        ending: ``finish`` keeps the connection; ``close`` and ``reset`` break it after the last part; ``hang`` leaves
            it open and silent.
        drop: not even a status goes out; the ending alone happens, at ``header_due_s``.
        header_due_s: when status and headers leave, at the earliest.
        separate: every part is a write of its own, a turn of the loop apart.
        bill: what it costs; ``None`` for what is no answer, or breaks before anything of it is out.
    """

    status: int
    headers: bytes
    parts: Sequence[Part]
    chunked: bool = False
    full_bytes: int = 0
    ending: Ending = "finish"
    drop: bool = False
    header_due_s: float = 0.0
    separate: bool = False
    bill: Bill | None = None


def bill_of(message: MessageOut, script: Script, *, streamed: bool) -> Bill:
    """What a message costs at the pace of a script."""
    return Bill(
        model=message.model,
        usage=message.usage,
        ttft_s=script.ttft_ms / 1000,
        tokens_per_second=script.tokens_per_second,
        streamed=streamed,
    )


def plain_reply(headers: bytes, body: bytes, script: Script, tokens: int, bill: Bill | None) -> Reply:
    """A body that is sent whole once ``tokens`` tokens are made."""
    due_s = max(script.ttft_ms, script.header_delay_ms) / 1000 + (
        tokens / script.tokens_per_second if script.tokens_per_second else 0.0
    )
    return with_faults(
        Reply(
            status=200,
            headers=headers,
            parts=(Part(due_s, body, tokens),),
            full_bytes=len(body),
            header_due_s=due_s,
            bill=bill,
        ),
        script,
    )


def stream_reply(headers: bytes, events: Sequence[Event], script: Script, seed: int, bill: Bill | None) -> Reply:
    """Events, each due with its token: token i at ``ttft + i / rate``, later by its jitter."""
    ttft_s, head_s = script.ttft_ms / 1000, script.header_delay_ms / 1000
    rate = script.tokens_per_second
    chance = random.Random(seed) if script.jitter_ms else None  # noqa: S311 - deterministic on purpose
    parts: list[Part] = []
    latest = head_s
    started = time.time() if script.stamp else 0.0
    limit = script.silent_after_events if script.silent_after_events >= 0 else len(events)
    pings = _pings(script, head_s, ttft_s)
    for event in events[:limit]:
        due_s = head_s
        if event.token >= 0:
            parts += pings
            pings = []
            due_s = max(head_s, ttft_s + (event.token / rate if rate else 0.0))
        if chance is not None and event.token >= 0:
            due_s += chance.random() * script.jitter_ms / 1000
        latest = max(latest, due_s)
        data = event.data
        if event.stampable and script.stamp:
            data = text_delta(event.index, f"{(started + latest) * 1000:.3f} ")
        parts.append(Part(latest, data, event.made))
    ending: Ending = "finish"
    if limit < len(events):
        ending, bill = "hang", broken_bill(bill, started=limit > 0)
    reply = Reply(status=200, headers=headers, parts=parts, chunked=True, ending=ending, header_due_s=head_s, bill=bill)
    return with_faults(reply, script)


def _pings(script: Script, head_s: float, ttft_s: float) -> list[Part]:
    """The pings that fill the time before the first token."""
    step_s = script.ping_interval_ms / 1000
    count = int((ttft_s - head_s) / step_s) if step_s else 0
    return [Part(head_s + step_s * (number + 1), PING) for number in range(count)]


def with_faults(reply: Reply, script: Script) -> Reply:
    """The reply with what the script breaks or slows down."""
    if not (
        script.cut_at_byte >= 0
        or script.stall_at_byte >= 0
        or script.chunk_bytes
        or script.bytes_per_second
        or script.reset
    ):
        return reply
    parts = list(reply.parts)
    ending, bill = reply.ending, reply.bill
    if script.stall_at_byte >= 0:
        bill = _cut_bill(bill, parts, script.stall_at_byte)
        parts, ending = _first_bytes(parts, script.stall_at_byte), "hang"
    if script.cut_at_byte >= 0:
        bill = _cut_bill(bill, parts, script.cut_at_byte)
        parts, ending = _first_bytes(parts, script.cut_at_byte), "reset" if script.reset else "close"
    if script.bytes_per_second:
        parts = _slowed(parts, script.bytes_per_second, script.chunk_bytes)
    elif script.chunk_bytes:
        parts = [piece for part in parts for piece in _split(part, script.chunk_bytes)]
    return Reply(
        status=reply.status,
        headers=reply.headers,
        parts=parts,
        chunked=reply.chunked,
        full_bytes=reply.full_bytes,
        ending=ending,
        drop=reply.drop,
        header_due_s=reply.header_due_s,
        separate=bool(script.chunk_bytes),
        bill=bill,
    )


def broken_bill(bill: Bill | None, *, started: bool) -> Bill | None:
    """The bill of an answer that a script breaks: none where it breaks a stream before ``message_start`` is out."""
    if bill is None or (bill.streamed and not started):
        return None
    return msgspec.structs.replace(bill, whole=False)


def _cut_bill(bill: Bill | None, parts: Sequence[Part], count: int) -> Bill | None:
    """The bill of the first ``count`` bytes."""
    if sum(len(part.data) for part in parts) <= count:
        return bill
    return broken_bill(bill, started=count >= len(parts[0].data))


def _first_bytes(parts: Sequence[Part], count: int) -> list[Part]:
    kept: list[Part] = []
    for part in parts:
        data = part.data[:count]
        if data or not kept:
            kept.append(Part(part.due_s, data, part.made if len(data) == len(part.data) else 0))
        count -= len(data)
        if count <= 0:
            break
    return kept


def _split(part: Part, size: int) -> list[Part]:
    starts = range(0, len(part.data), size)
    return [
        Part(part.due_s, part.data[start : start + size], part.made if start == starts[-1] else 0) for start in starts
    ]


def _slowed(parts: Sequence[Part], rate: float, size: int) -> list[Part]:
    """Parts that leave at no more than ``rate`` bytes a second, in pieces of a fiftieth of a second's worth."""
    size = size or max(1, int(rate / 50))
    slowed: list[Part] = []
    free_s = 0.0
    for piece in (piece for part in parts for piece in _split(part, size)):
        due_s = max(piece.due_s, free_s)
        slowed.append(Part(due_s, piece.data, piece.made))
        free_s = due_s + len(piece.data) / rate
    return slowed

"""Settings of the simulator, read like the gateway's: ``CLAUDE_WRAPPER_SIMULATOR_*`` and flags.

Every field of the timing and fault kind is only the default of a reply; a script (``script.py``) may say otherwise.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from app.config import PREFIX, Help


def _setting(name: str, text: str, *, secret: bool = False, kind: str = "plain") -> Help:
    """Help of a field; the variable is ``CLAUDE_WRAPPER_SIMULATOR_<NAME>``."""
    return Help(text, env=(f"{PREFIX}SIMULATOR_{name.upper()}",), secret=secret, kind=kind)  # type: ignore[arg-type]


Milliseconds = Annotated[float, Meta(ge=0, le=86_400_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]


class SimulatorSettings(Struct, frozen=True, kw_only=True):
    """What the simulator does when nothing in a request says otherwise. ``*_ms`` are milliseconds."""

    # Pace
    ttft_ms: Annotated[Milliseconds, _setting("ttft_ms", "time from the request to the first token")] = 0.0
    tokens_per_second: Annotated[
        float, Meta(ge=0), _setting("tokens_per_second", "tokens a second of one answer; 0: all at once")
    ] = 0.0
    jitter_ms: Annotated[Milliseconds, _setting("jitter_ms", "each delta comes up to this much later, seeded")] = 0.0
    delta_tokens: Annotated[int, Meta(ge=1), _setting("delta_tokens", "tokens in one delta of a stream")] = 4
    ping_interval_ms: Annotated[
        Milliseconds,
        _setting("ping_interval_ms", "pings in the silence before the first token; 0: only the opening one"),
    ] = 0.0
    stamp: Annotated[
        bool,
        _setting("stamp", "every text delta of a stream is the time it was due: <unix ms with 3 decimals>, a space"),
    ] = False

    # Size of an answer
    output_tokens: Annotated[
        Count, _setting("output_tokens", "tokens of a text answer; 0: 16 to 120, by the request")
    ] = 0
    thinking_tokens: Annotated[Count, _setting("thinking_tokens", "tokens of thinking; 0: 8 to 40, by the request")] = 0

    # Faults
    error_rate: Annotated[Share, _setting("error_rate", "share of message requests that fail, from 0 to 1")] = 0.0
    error_kinds: Annotated[
        tuple[str, ...],
        _setting("error_kinds", "what fails: statuses, event (in a stream), cut, drop", kind="list"),
    ] = ("529", "500", "429")
    seed: Annotated[int, _setting("seed", "seed of everything random")] = 1
    chunk_bytes: Annotated[Count, _setting("chunk_bytes", "bodies go out in pieces of this many bytes; 0: whole")] = 0
    bytes_per_second: Annotated[float, Meta(ge=0), _setting("bytes_per_second", "slow bodies; 0: full speed")] = 0.0

    # What it accepts
    validate: Annotated[bool, _setting("validate", "check requests as Anthropic does")] = True
    keys: Annotated[
        tuple[str, ...], _setting("keys", "API keys to accept; empty: any but 'invalid*'", kind="list", secret=True)
    ] = ()
    max_body_bytes: Annotated[
        int, Meta(ge=1024), _setting("max_body_bytes", "larger requests get 413", kind="size")
    ] = 32 * 1024**2
    enforce_rate_limits: Annotated[
        bool, _setting("enforce_rate_limits", "answer 429 when a rate limit is used up; else it is only shown")
    ] = False
    requests_per_minute: Annotated[int, Meta(ge=1), _setting("requests_per_minute", "rate limit per key")] = 50_000
    input_tokens_per_minute: Annotated[
        int, Meta(ge=1), _setting("input_tokens_per_minute", "rate limit per key; cache reads do not count")
    ] = 20_000_000
    output_tokens_per_minute: Annotated[int, Meta(ge=1), _setting("output_tokens_per_minute", "rate limit per key")] = (
        4_000_000
    )
    signing_key: Annotated[str, _setting("signing_key", "key of the signatures of thinking blocks", secret=True)] = (
        "claude-wrapper-simulator"
    )

    # Seeing what came
    journal: Annotated[Count, _setting("journal", "requests kept for GET /_simulator/journal; 0: none")] = 0
    journal_body_bytes: Annotated[
        int, Meta(ge=0), _setting("journal_body_bytes", "bytes kept of a request body", kind="size")
    ] = 1024**2

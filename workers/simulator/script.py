"""Scripts: what a test may ask of one reply, where it says so, and which of several wins.

A script is a set of ``name=value`` pairs, the fields of ``Script``. It comes, later ones winning field by field, from
the settings, from ``POST /_simulator/script`` (JSON), from the request's headers (``x-simulator-script: status=529
times=1`` or one header a field, ``x-simulator-ttft-ms: 200``), and from markers ``[[sim: ttft_ms=200 text='two
words']]`` in the system prompt or in the last user message. A marker in an older message has no effect, so a
conversation can go on.
"""

from __future__ import annotations

import re
import shlex
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from workers.simulator.errors import MESSAGE_BY_STATUS, ApiError
from workers.simulator.settings import SimulatorSettings
from workers.simulator.wire import CountTokensRequest, text_of

MARKER: Final = re.compile(r"\[\[sim:(.*?)\]\]", re.DOTALL)

#: How many ``times=N`` counters of headers and markers are kept.
_REMEMBERED: Final = 10_000


class Script(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be asked of a reply. ``-1`` means never; bytes count the reply's body, without chunk framing.

    Args:
        ttft_ms: request to first token; an error or another fault comes after this time too.
        header_delay_ms: request to response headers (and ``message_start``) of a stream.
        tokens_per_second, jitter_ms, delta_tokens, ping_interval_ms, stamp: pace, see ``SimulatorSettings``.
        status: answer with this error status.
        error_type, error_message, error_code: of the error; empty means what belongs to the status.
        retry_after, retry_after_ms, should_retry: reply headers of the error. A 429 has ``retry-after: 1`` unless it is
            told otherwise, as a rate limit has one and a used-up quota has none: ``retry_after=none``.
        error_after_events: an error event in a stream after this many events (a plain request gets the status).
        cut_at_byte: the connection is closed after this many bytes; ``reset`` makes it a TCP reset.
        drop: the connection is closed instead of an answer.
        silent: nothing is ever answered. ``silent_after_events``, ``stall_at_byte``: nothing more from there on.
        bytes_per_second, chunk_bytes: slow body; body in pieces of that many bytes, each a chunk and a write of its
            own.
        nonsense: a 200 that is not the protocol: an HTML page, plain text, JSON cut in half, nothing, a JSON list, an
            object of another kind.
        content_type: replaces that of the reply.
        text: the answer's text. ``content``: the answer's blocks, as they go over the wire.
        calls: tools to call, names with commas; ``preface``: text before the calls.
        output_tokens, thinking_tokens: size of the answer.
        redacted: thinking comes as ``redacted_thinking``.
        pause: a turn with a server tool is paused (``pause_turn``) this many times.
        stop_reason: replaces the answer's; ``refusal`` comes with its details.
        service_tier: of ``usage``.
        times: a header's or marker's script acts on the first N identical requests, an admin script on N requests;
            0 means always.
        match: an admin script acts on requests whose body contains this text.
    """

    ttft_ms: float = 0.0
    header_delay_ms: float = 0.0
    tokens_per_second: float = 0.0
    jitter_ms: float = 0.0
    delta_tokens: int = 4
    ping_interval_ms: float = 0.0
    stamp: bool = False
    status: int = 0
    error_type: str = ""
    error_message: str = ""
    error_code: str = ""
    retry_after: str = ""
    retry_after_ms: str = ""
    should_retry: str = ""
    error_after_events: int = -1
    cut_at_byte: int = -1
    reset: bool = False
    drop: bool = False
    silent: bool = False
    silent_after_events: int = -1
    stall_at_byte: int = -1
    bytes_per_second: float = 0.0
    chunk_bytes: int = 0
    nonsense: Literal["", "html", "text", "truncated", "empty", "list", "object"] = ""
    content_type: str = ""
    text: str | None = None
    content: list[dict[str, Any]] | None = None
    calls: str = ""
    preface: str = ""
    output_tokens: int = 0
    thinking_tokens: int = 0
    redacted: bool = False
    pause: int = 0
    stop_reason: str = ""
    service_tier: str = "standard"
    times: int = 0
    match: str = ""

    def error(self) -> ApiError:
        """The scripted error."""
        status = self.status or 529
        retry_after = self.retry_after or ("1" if status == 429 else "none")
        headers = {
            name: value
            for name, value in (
                ("retry-after", "" if retry_after == "none" else retry_after),
                ("retry-after-ms", self.retry_after_ms),
                ("x-should-retry", self.should_retry),
            )
            if value
        }
        message = self.error_message or MESSAGE_BY_STATUS.get(status, "The simulator was told to fail.")
        return ApiError(status, message, error_type=self.error_type, code=self.error_code, headers=headers)


_FIELDS: Final = frozenset(Script.__struct_fields__)


class AdminScript(Struct):
    """A script of ``POST /_simulator/script``; ``fields`` are those it sets, ``used`` how often it acted."""

    script: Script
    fields: dict[str, Any]
    used: int = 0

    def spent(self) -> bool:
        """Whether it has acted as often as it may."""
        return 0 < self.script.times <= self.used


def parse_fields(source: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Checked values of the fields that a script sets.

    Raises:
        ApiError: 400; an unknown field or a value of the wrong kind.
    """
    try:
        script = msgspec.convert(dict(source), Script, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"simulator script in {where}: {error}") from error
    return {name: getattr(script, name) for name in source}


def parse_text(text: str, where: str) -> dict[str, Any]:
    """A script written as ``name=value name='two words'``; a bare name means true."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ApiError(400, f"simulator script in {where}: {error}") from error
    pairs = (word.partition("=") for word in words)
    return parse_fields({name.replace("-", "_"): value if sep else True for name, sep, value in pairs}, where)


class ScriptBook:
    """Which script a request gets: defaults, the admin's scripts, and the counters behind ``times``."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.default = Script(**{name: getattr(settings, name) for name in _FIELDS & set(settings.__struct_fields__)})
        """The script of a request that says nothing."""
        self._admin: list[AdminScript] = []
        self._seen: OrderedDict[tuple[Any, ...], int] = OrderedDict()

    def add(self, source: Mapping[str, Any]) -> None:
        """Adds an admin script; a later one wins over an earlier one."""
        fields = parse_fields(source, "the request body")
        self._admin.append(AdminScript(Script(**fields), fields))

    def reset(self) -> None:
        """Forgets every admin script and counter."""
        self._admin.clear()
        self._seen.clear()

    def admin_scripts(self) -> list[AdminScript]:
        """The admin scripts, oldest first."""
        return self._admin

    def choose(self, headers: Iterable[tuple[str, str]], request: CountTokensRequest | None, body: bytes) -> Script:
        """The script of one message request.

        Args:
            headers: the ``x-simulator-*`` headers, without that prefix.
            request: the decoded request, None where it cannot be decoded.
            body: its bytes; identical bytes count as the same request for ``times``.
        """
        merged: dict[str, Any] = {}
        for admin in self._admin:
            if not admin.spent() and admin.script.match.encode() in body:
                admin.used += 1
                merged |= admin.fields
        for fields in self._of_request(headers, request, body):
            times = fields.get("times", 0)
            if not times or self._count(fields, body) <= times:
                merged |= fields
        return msgspec.structs.replace(self.default, **merged) if merged else self.default

    def _of_request(
        self, headers: Iterable[tuple[str, str]], request: CountTokensRequest | None, body: bytes
    ) -> Iterator[dict[str, Any]]:
        single: dict[str, Any] = {}
        for name, value in headers:
            if name == "script":
                yield parse_text(value, "x-simulator-script")
            else:
                single |= parse_fields({name.replace("-", "_"): value}, f"x-simulator-{name}")
        if single:
            yield single
        if request is not None and b"[[sim:" in body:
            for text in _marked_texts(request):
                for found in MARKER.finditer(text):
                    yield parse_text(found.group(1), "the prompt")

    def _count(self, fields: dict[str, Any], body: bytes) -> int:
        """How often this script met this request, now included."""
        key = (hash(body), *sorted((name, str(value)) for name, value in fields.items()))
        count = self._seen.pop(key, 0) + 1
        self._seen[key] = count
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return count


def _marked_texts(request: CountTokensRequest) -> Iterator[str]:
    if isinstance(request.system, str):
        yield request.system
    elif request.system:
        yield "\n".join(block.text for block in request.system)
    last = next((message for message in reversed(request.messages) if message.role == "user"), None)
    if last is not None:
        yield text_of(last.content)

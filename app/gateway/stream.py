"""One streamed chat completion: frames as they become available, and what happens when either side goes away.

``ChatEvents.next`` is pulled by the door; when the client goes away the door's task is cancelled, which reaches
Anthropic's connection through whatever ``next`` is waiting for, and ``close`` ends the rest.
"""

from __future__ import annotations

from typing import Final, Protocol

from app.domain.auth import Caller
from app.domain.calls import MessagesCall, Report, Usage
from app.gateway.chat import ChatRequest, reply_headers
from app.gateway.entrance import Entry
from app.gateway.live_answer import LiveAnswer
from app.gateway.services import Services
from app.gateway.shared_frames import SharedFrames
from app.gateway.sharing import Part
from app.observability.record import RequestRecord

#: Load balancers cut a connection that has been silent for a minute.
LONGEST_SILENCE_S: Final = 50.0


class _Source(Protocol):
    """Where frames come from: a call of our own, or an answer that is shared."""

    @property
    def call(self) -> MessagesCall: ...

    @property
    def stopped(self) -> bool: ...

    @property
    def has_content(self) -> bool: ...

    @property
    def headers(self) -> dict[str, str]: ...

    @property
    def usage(self) -> Usage: ...

    @property
    def report(self) -> Report: ...

    async def open(self) -> None: ...

    async def next(self) -> bytes: ...

    async def finish(self) -> None: ...

    def closing(self) -> bytes: ...

    async def close(self) -> None: ...


class ChatEvents:
    """The frames of one client's stream.

    Args:
        services: the rooms.
        request: what the client asked for.
        record: notes of the request, for the log; complete after ``close``.
        caller: who asks.

    Attributes:
        finished: True once ``next`` has returned the last frames.
    """

    def __init__(self, services: Services, request: ChatRequest, record: RequestRecord, caller: Caller) -> None:
        self._services = services
        self._request = request
        self._record = record
        self._created = int(services.now())
        self._entry = Entry(services, request, record, caller)
        self._is_in = False
        self._source: _Source | None = None
        self._headers: dict[str, str] = {}
        self.finished = False

    @property
    def headers(self) -> dict[str, str]:
        """Reply headers; complete after the first ``next``, until then as far as they are known."""
        if self._headers or not self._is_in:
            return self._headers
        return reply_headers({}, self._entry.permit, self._entry.headers, self._services.now())

    @property
    def holds_back(self) -> bool:
        """Whether it waits for its session, within what load balancers wait for: that may still be refused or fork."""
        wait_s = self._request.wants.wait_within(self._services.config.session_wait_s)
        waits = bool(self._request.session) and self._is_in and not self._entry.is_ready
        if self._entry.shared is not None and not self._entry.is_driving:
            return False
        return waits and wait_s <= LONGEST_SILENCE_S

    @property
    def call(self) -> MessagesCall:
        """The call as it was made."""
        return self._request.call if self._source is None else self._source.call

    async def next(self) -> bytes:
        """The next frames, at least one; everything that has arrived together.

        Raises:
            GatewayError: the request was not let in, Anthropic failed, or the answer could not be kept. Before the
                first frames were returned the client can still be told by a status; after them, by an error frame.
        """
        source = self._source
        if source is None:
            source = await self._open()
        frames = await source.next()
        if not self._record.first_token_at and (source.has_content or source.stopped):
            self._record.first_token_at = self._services.monotonic()
        if source.stopped:
            await source.finish()  # before the last frame goes out: whoever has it may come again at once
            self.finished = True
            frames += source.closing()
        return frames

    async def close(self) -> None:
        """Ends every upstream call that nobody else needs, and settles the request."""
        record, source = self._record, self._source
        record.model = self.call.model
        try:
            if source is not None:
                record.usage = usage = source.usage
                hidden = 0 if self.call.plan.include_reasoning else usage.thinking_tokens
                record.shown_tokens = usage.output_tokens - hidden
                record.adjusted = source.report.adjusted if self.finished else ()
                await source.close()
        finally:
            if self._is_in:
                self._entry.close()

    async def _open(self) -> _Source:
        services, entry = self._services, self._entry
        await entry.let_in()
        self._is_in = True
        source: _Source
        told_by: Entry | Part = entry
        if entry.shared is not None:
            told_by = part = Part(services, entry)
            source = SharedFrames(part)
        else:
            source = LiveAnswer(services, entry, await entry.ready(), created=self._created)
        self._source = source
        await source.open()
        self._headers = reply_headers(source.headers, entry.permit, told_by.headers, services.now())
        return source

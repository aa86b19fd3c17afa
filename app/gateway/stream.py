"""One streamed chat completion: frames as Anthropic's events arrive, and what happens when either side goes away.

``ChatEvents.next`` is pulled by the door; when the client goes away the door's task is cancelled, which reaches
Anthropic's connection through whatever ``next`` is waiting for, and ``close`` ends the rest. Nothing is buffered here:
a slow reader stops pulling, which stops reading from Anthropic.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import reduce
from operator import add

from app.domain.auth import Caller
from app.domain.calls import MessagesCall, Report, Usage
from app.domain.upstream import UpstreamReply
from app.errors import GatewayError, UpstreamStatus
from app.gateway.chat import (
    MAX_CONTINUATIONS,
    Admitted,
    ChatRequest,
    admit,
    downgraded,
    note_request_id,
    read_to_end,
    refused_forced_tool,
    reply_headers,
    send,
    settle,
)
from app.gateway.services import Services
from app.observability.record import RequestRecord
from app.translate.chat_stream import ChatStream
from app.translate.chat_to_messages import continue_after_pause


class ChatEvents:
    """The frames of one client's stream.

    Args:
        services: the rooms.
        request: what the client asked for.
        record: notes of the request, for the log; complete after ``close``.
        caller: who asks.

    Attributes:
        finished: True once ``next`` has returned the last frames.
        headers: reply headers that come from Anthropic; complete after the first ``next``.
        call: the call as it was made (a forced tool choice may have been downgraded).
    """

    def __init__(self, services: Services, request: ChatRequest, record: RequestRecord, caller: Caller) -> None:
        self._services = services
        self._request = request
        self._record = record
        self._caller = caller
        self._admitted: Admitted | None = None
        self._created = int(services.now())
        self._shared_id = f"chatcmpl-{record.request_id}" if request.call.n > 1 else None
        self._source: _Choice | _Choices | None = None
        self.call = request.call
        self.finished = False
        self.headers: dict[str, str] = {}

    async def next(self) -> bytes:
        """The next frames, at least one; everything that has arrived together.

        Raises:
            GatewayError: Anthropic failed. Before the first frames were returned the client can still be told by a
                status; after them, by an error frame.
        """
        if self._source is None:
            await self._open()
        source = self._source
        assert source is not None  # noqa: S101 - _open has set it, for the type checker
        frames = await source.next()
        if source.stopped:
            self.finished = True
            self._settle()  # before the last frame goes out: whoever has it may come again at once
            frames += source.closing()
        return frames

    async def close(self) -> None:
        """Ends every upstream call that is still open, and settles the request."""
        record, source = self._record, self._source
        record.model = self.call.model
        try:
            if source is not None:
                record.usage = source.usage
                record.adjusted = source.report.adjusted if self.finished else ()
                await source.close()
        finally:
            self._settle()

    def _settle(self) -> None:
        """Once: as soon as the answer is whole, or when it has broken off."""
        admitted, self._admitted = self._admitted, None
        if admitted is not None:
            if self.finished:
                admitted.spending.streamed()
            settle(self._services, admitted, self._record, complete=self.finished)

    async def _open(self) -> None:
        self._admitted = admitted = await admit(self._services, self._request, self._record, self._caller)
        self.call = admitted.call
        try:
            self._source = await self._start(admitted)
        except UpstreamStatus as error:
            if not refused_forced_tool(error):
                raise
            self.call = downgraded(self._services, self._request, admitted)
            self._source = await self._start(admitted)
        self.headers = reply_headers(self._source.headers, admitted, self._services.now())

    async def _start(self, admitted: Admitted) -> _Choice | _Choices:
        call = self.call
        choices = [
            _Choice(
                self._services, admitted, call, self._record, created=self._created, index=index, id_=self._shared_id
            )
            for index in range(call.n)
        ]
        source = choices[0] if call.n == 1 else _Choices(choices)
        try:
            await source.open()
        except BaseException:
            await source.close()
            raise
        return source


class _Choice:
    """One upstream call, or the chain of calls that ``pause_turn`` made of it, as frames of one choice."""

    def __init__(
        self,
        services: Services,
        admitted: Admitted,
        call: MessagesCall,
        record: RequestRecord,
        *,
        created: int,
        index: int,
        id_: str | None,
    ) -> None:
        self._services = services
        self._admitted = admitted
        self._call = call
        self._record = record
        self._body = call.body
        self._continuations = 0
        self._machine = ChatStream(
            call.plan, created=created, index=index, id=id_, continue_pauses=call.plan.server_tools
        )
        self._reply: UpstreamReply | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._failed: GatewayError | None = None
        self.headers: dict[str, str] = {}

    @property
    def stopped(self) -> bool:
        return self._machine.stopped

    @property
    def usage(self) -> Usage:
        return self._machine.usage

    @property
    def report(self) -> Report:
        return self._machine.report

    def closing(self) -> bytes:
        return self._machine.closing(self._machine.usage)

    def shared_closing(self, usage: Usage) -> bytes:
        """The closing frames of a client stream that has several choices."""
        return self._machine.closing(usage)

    async def open(self) -> None:
        """Sends the request; returns once Anthropic has answered with success."""
        machine, number = self._machine, self._continuations
        self._reply, sent = await send(self._services, self._admitted, self._call, self._body, self._record)
        sent.stream = lambda: machine.meters[number] if len(machine.meters) > number else None
        self._chunks = self._reply.chunks()
        self.headers = dict(self._reply.headers)

    async def next(self) -> bytes:
        """The next frames of this choice; the last ones, which may be none, set ``stopped``."""
        machine = self._machine
        if self._failed is not None:
            raise self._failed
        while True:
            if machine.paused:
                await self._continue()
                if machine.stopped:
                    return machine.end()
            assert self._chunks is not None  # noqa: S101 - open() comes first, for the type checker
            try:
                chunk = await anext(self._chunks, None)
            except GatewayError as error:
                note_request_id(error, self.headers)
                raise
            frames = machine.feed(chunk) if chunk is not None else machine.end()
            if machine.error is not None:
                self._failed = machine.error
                note_request_id(self._failed, self.headers)
                if not (frames and machine.started):
                    raise self._failed
                return frames
            # Frames before the first event of the message (pings) are dropped: an early error gets its true status.
            if machine.stopped or (frames and machine.started):
                return frames

    async def _continue(self) -> None:
        """Resends the conversation with what Claude has said so far (``pause_turn``)."""
        if self._continuations == MAX_CONTINUATIONS:
            self._machine.give_up_pause()
            return
        self._continuations += 1
        await self.close()
        self._body = continue_after_pause(self._body, self._machine.continuation())
        self._machine.resume()
        await self.open()

    async def close(self) -> None:
        reply, self._reply = self._reply, None
        if reply is None:
            return
        try:
            if self._chunks is not None and (self._machine.stopped or self._machine.paused):
                await read_to_end(self._chunks)
        finally:
            await reply.close()


class _Choices:
    """Several choices at the same time (``n`` above 1), their frames merged in the order of arrival."""

    def __init__(self, choices: list[_Choice]) -> None:
        self._choices = choices
        self._frames: asyncio.Queue[tuple[bytes, bool] | Exception] = asyncio.Queue(maxsize=len(choices))
        self._pumps: list[asyncio.Task[None]] = []
        self._open_choices = len(choices)

    @property
    def stopped(self) -> bool:
        return self._open_choices == 0

    @property
    def headers(self) -> dict[str, str]:
        return self._choices[0].headers

    @property
    def usage(self) -> Usage:
        return reduce(add, (choice.usage for choice in self._choices))

    @property
    def report(self) -> Report:
        adjusted = dict.fromkeys(one for choice in self._choices for one in choice.report.adjusted)
        return Report(adjusted=tuple(adjusted))

    def closing(self) -> bytes:
        return self._choices[0].shared_closing(self.usage)

    async def open(self) -> None:
        """Opens all calls; one failure fails all."""
        try:
            async with asyncio.TaskGroup() as group:
                for choice in self._choices:
                    group.create_task(choice.open())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the first; the others were cancelled for it
        self._pumps = [asyncio.create_task(self._pump(choice)) for choice in self._choices]

    async def _pump(self, choice: _Choice) -> None:
        try:
            while not choice.stopped:
                frames = await choice.next()
                await self._frames.put((frames, choice.stopped))
            await choice.close()
        except Exception as error:  # noqa: BLE001 - a task's outermost edge: whoever pulls the frames gets it
            await self._frames.put(error)

    async def next(self) -> bytes:
        while True:
            item = await self._frames.get()
            if isinstance(item, Exception):
                raise item
            frames, last = item
            self._open_choices -= last
            if frames or self.stopped:
                return frames

    async def close(self) -> None:
        if not self.stopped:
            for pump in self._pumps:
                pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for choice in self._choices:
            await choice.close()

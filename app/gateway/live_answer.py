"""An answer as frames, while Anthropic's events arrive: one upstream call for each choice.

Nothing is buffered here: whoever pulls slowly stops the reading from Anthropic.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import reduce
from operator import add

from app.domain.calls import MessagesCall, Report, Usage
from app.domain.upstream import UpstreamReply
from app.errors import GatewayError, UpstreamStatus
from app.gateway.chat import (
    MAX_CONTINUATIONS,
    Admitted,
    downgraded,
    note_request_id,
    read_to_end,
    refused_forced_tool,
    send,
)
from app.gateway.entrance import Entry
from app.gateway.finishing import Contents, finish
from app.gateway.flights import Tape
from app.gateway.services import Services
from app.observability.record import RequestRecord
from app.translate.chat_stream import ChatStream
from app.translate.chat_to_messages import continue_after_pause


class LiveAnswer:
    """The frames of one answer.

    Args:
        services: the rooms.
        entry: the request.
        admitted: what it has become.
        created: Unix seconds, for every chunk.
        tape: gets what comes.

    Attributes:
        call: the call as it was made (a forced tool choice may have been downgraded).
    """

    def __init__(
        self, services: Services, entry: Entry, admitted: Admitted, *, created: int, tape: Tape | None = None
    ) -> None:
        self._services = services
        self._entry = entry
        self._admitted = admitted
        self._created = created
        self._tape = tape
        self._shared_id = f"chatcmpl-{entry.record.request_id}" if admitted.call.n > 1 else None
        self._source: _Choice | _Choices
        self._is_open = False
        self.call = admitted.call

    async def open(self) -> None:
        """Sends the call; returns once Anthropic has answered with success.

        Raises:
            UpstreamError: it has not.
            Overloaded: no free connection in time.
        """
        try:
            await self._start()
        except UpstreamStatus as error:
            if not refused_forced_tool(error):
                raise
            granted_tokens = self._admitted.call.max_tokens
            self.call = downgraded(self._entry.request, max_tokens=granted_tokens, admitted=self._admitted)
            if self._tape is not None:
                self._tape.forced_tool_refused = True
            await self._start()

    async def _start(self) -> None:
        choices = [
            _Choice(
                self._services,
                self._admitted,
                self.call,
                self._entry.record,
                created=self._created,
                index=index,
                id_=self._shared_id,
                tape=self._tape,
            )
            for index in range(self.call.n)
        ]
        self._source = source = choices[0] if self.call.n == 1 else _Choices(choices)
        self._is_open = True
        try:
            await source.open()
        except BaseException:
            await source.close()
            raise

    async def next(self) -> bytes:
        """The next frames; the last ones set ``stopped``.

        Raises:
            GatewayError: Anthropic failed.
        """
        return await self._source.next()

    @property
    def stopped(self) -> bool:
        """Whether every choice is complete; ``finish`` and ``closing`` are left."""
        return self._source.stopped

    @property
    def has_content(self) -> bool:
        """Whether frames with a part of the answer were returned."""
        return self._source.has_content

    @property
    def headers(self) -> dict[str, str]:
        """Of Anthropic's first reply."""
        return self._source.headers

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        return self._source.usage if self._is_open else Usage()

    @property
    def report(self) -> Report:
        """What only the answer could tell."""
        return self._source.report

    @property
    def contents(self) -> Contents:
        """Of each answer, exactly, where they will be needed."""
        return self._source.contents

    def note_end(self) -> None:
        """Every choice has come whole: what they showed tells about those that will not."""
        self._entry.record.ended_at = self._services.monotonic()
        self._admitted.spending.streamed()

    async def finish(self) -> None:
        """Settles it and keeps what has to be kept, before the client has its last frames.

        Raises:
            StateUnavailable: it could not be kept.
            Conflict: its session has changed meanwhile.
        """
        self.note_end()
        await finish(self._services, self._entry, self._admitted, self.contents)

    def closing(self) -> bytes:
        """The last frames of the client's stream."""
        return self._source.closing()

    async def close(self) -> None:
        """Ends every upstream call that is still open."""
        if self._is_open:
            await self._source.close()


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
        tape: Tape | None,
    ) -> None:
        self._services = services
        self._admitted = admitted
        self._call = call
        self._record = record
        self._body = call.body
        self._index = index
        self._tape = tape
        self._continuations = 0
        self._machine = ChatStream(
            call.plan,
            created=created,
            index=index,
            id=id_,
            continue_pauses=call.plan.server_tools,
            keep_content=admitted.keeps_content,
        )
        self._reply: UpstreamReply | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._failed: GatewayError | None = None
        self.headers: dict[str, str] = {}

    @property
    def stopped(self) -> bool:
        return self._machine.stopped

    @property
    def has_content(self) -> bool:
        return self._machine.has_content

    @property
    def usage(self) -> Usage:
        return self._machine.usage

    @property
    def report(self) -> Report:
        return self._machine.report

    @property
    def contents(self) -> Contents:
        """What the answer consists of, exactly, where that was asked for."""
        return [self._machine.content] if self._admitted.keeps_content else []

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
        if self._tape is not None:
            self._tape.note_headers(self.headers)

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
            if chunk is not None and self._tape is not None:
                self._tape.add(self._index, self._continuations, chunk, is_stream=True)
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
    def has_content(self) -> bool:
        return any(choice.has_content for choice in self._choices)

    @property
    def headers(self) -> dict[str, str]:
        return self._choices[0].headers

    @property
    def usage(self) -> Usage:
        return reduce(add, (choice.usage for choice in self._choices))

    @property
    def contents(self) -> Contents:
        return [content for choice in self._choices for content in choice.contents]

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

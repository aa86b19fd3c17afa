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

from app.domain.calls import MessagesCall, Usage
from app.domain.upstream import UpstreamReply
from app.errors import GatewayError, UpstreamStatus
from app.gateway.chat import MAX_CONTINUATIONS, ChatRequest, downgraded, refused_forced_tool, reply_headers, send
from app.gateway.services import Services
from app.translate.chat_stream import ChatStream
from app.translate.chat_to_messages import continue_after_pause

#: After the last event Anthropic only ends the body; waiting this long for it lets the connection be used again.
END_OF_BODY_WAIT_S = 0.25


class ChatEvents:
    """The frames of one client's stream.

    Attributes:
        finished: True once ``next`` has returned the last frames.
        headers: reply headers that come from Anthropic; complete after the first ``next``.
        call: the call as it was made (a forced tool choice may have been downgraded).
    """

    def __init__(self, services: Services, request: ChatRequest, *, request_id: str) -> None:
        self._services = services
        self._request = request
        self._created = int(services.now())
        self._shared_id = f"chatcmpl-{request_id}" if request.call.n > 1 else None
        self._source: _Choice | _Choices | None = None
        self.call = request.call
        self.finished = False
        self.headers: dict[str, str] = {}

    @property
    def usage(self) -> Usage:
        """Tokens reported so far."""
        return self._source.usage if self._source else Usage()

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
            frames += source.closing()
        return frames

    async def close(self) -> None:
        """Ends every upstream call that is still open."""
        if self._source is not None:
            await self._source.close()

    async def _open(self) -> None:
        try:
            self._source = await self._start(self.call)
        except UpstreamStatus as error:
            if not refused_forced_tool(error):
                raise
            self.call = downgraded(self._services, self._request)
            self._source = await self._start(self.call)
        self.headers = reply_headers(self._source.headers, self._services.now())

    async def _start(self, call: MessagesCall) -> _Choice | _Choices:
        choices = [
            _Choice(self._services, call, created=self._created, index=index, id_=self._shared_id)
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

    def __init__(self, services: Services, call: MessagesCall, *, created: int, index: int, id_: str | None) -> None:
        self._services = services
        self._call = call
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

    def closing(self) -> bytes:
        return self._machine.closing(self._machine.usage)

    def shared_closing(self, usage: Usage) -> bytes:
        """The closing frames of a client stream that has several choices."""
        return self._machine.closing(usage)

    async def open(self) -> None:
        """Sends the request; returns once Anthropic has answered with success."""
        self._reply = await send(self._services, self._call, self._body)
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
            assert self._chunks is not None  # noqa: S101 - open() comes first, for the type checker
            chunk = await anext(self._chunks, None)
            frames = machine.feed(chunk) if chunk is not None else machine.end()
            if machine.error is not None:
                self._failed = machine.error
                if not frames:
                    raise self._failed
                return frames
            # Frames before the first event of the message (pings) wait: an early error still gets its true status.
            if machine.stopped or (frames and machine.started):
                return frames

    async def _continue(self) -> None:
        """Resends the conversation with what Claude has said so far (``pause_turn``)."""
        if self._continuations == MAX_CONTINUATIONS:
            self._machine.give_up_pause()
            return
        self._continuations += 1
        self._body = continue_after_pause(self._body, self._machine.continuation())
        self._machine.resume()
        await self.close()
        await self.open()

    async def close(self) -> None:
        reply, self._reply = self._reply, None
        if reply is None:
            return
        try:
            if self.stopped and self._chunks is not None:
                async with asyncio.timeout(END_OF_BODY_WAIT_S):
                    while await anext(self._chunks, None) is not None:
                        pass
        except (TimeoutError, GatewayError):
            pass  # the answer is complete; the connection is closed instead of kept
        finally:
            await reply.close()


class _Choices:
    """Several choices at the same time (``n`` above 1), their frames merged in the order of arrival."""

    def __init__(self, choices: list[_Choice]) -> None:
        self._choices = choices
        self._frames: asyncio.Queue[tuple[bytes, bool] | GatewayError] = asyncio.Queue(maxsize=len(choices))
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

    def closing(self) -> bytes:
        return self._choices[0].shared_closing(self.usage)

    async def open(self) -> None:
        """Opens all calls; one failure fails all."""
        try:
            async with asyncio.TaskGroup() as group:
                for choice in self._choices:
                    group.create_task(choice.open())
        except* GatewayError as errors:
            raise errors.exceptions[0] from None
        self._pumps = [asyncio.create_task(self._pump(choice)) for choice in self._choices]

    async def _pump(self, choice: _Choice) -> None:
        try:
            while not choice.stopped:
                frames = await choice.next()
                await self._frames.put((frames, choice.stopped))
        except GatewayError as error:
            await self._frames.put(error)

    async def next(self) -> bytes:
        while True:
            item = await self._frames.get()
            if isinstance(item, GatewayError):
                raise item
            frames, last = item
            self._open_choices -= last
            if frames or self.stopped:
                return frames

    async def close(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for choice in self._choices:
            await choice.close()

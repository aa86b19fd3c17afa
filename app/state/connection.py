"""The state store as the rest of the room sees it: one interface, two implementations.

``multiplexed.py`` speaks to a Redis or Valkey server, ``memory.py`` keeps everything in this process (``memory://``).
Both answer in the types of RESP2: ``bytes`` for strings and for status lines such as ``+OK``, ``int``, ``None`` for
nil and ``list`` for arrays. What a reply means is known only to the module that made the call; the other rooms get
domain structs. Source: DESIGN.md sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, NoReturn, Protocol, TypeAlias

from msgspec import Struct

from app.errors import StateError
from app.state.scripts import Script, ScriptCall

#: What may stand in a command. Numbers are written as Python writes them, so no float where Redis wants an integer.
Argument: TypeAlias = bytes | str | int | float

#: ``bytes``, ``int``, ``None`` or a list of replies.
Reply: TypeAlias = Any

#: One entry of a pipeline: the words of a command, or a script with its keys and arguments.
Command: TypeAlias = Sequence[Argument] | ScriptCall


class StoreStatus(Struct, frozen=True, kw_only=True):
    """How this process's connection is doing, for ``/health`` and ``doctor``.

    Args:
        kind: ``redis`` or ``memory``.
        available: calls are attempted; ``False`` while the breaker is open or after ``close``.
        connected: a connection is established at this moment.
        breaker: ``closed`` is the good state.
        away_s: seconds for which the breaker has been open; 0 while it is closed.
        last_failure: why a call or a connection attempt last failed; never an address, a secret or a value.
        failures: failed calls and connection attempts since start.
        openings: how often the breaker opened since start.
        refused: calls that failed at once, because the breaker was open or a queue was full.
        in_flight: commands sent and not yet answered, abandoned ones included.
    """

    kind: Literal["redis", "memory"]
    available: bool
    connected: bool
    breaker: Literal["closed", "open"] = "closed"
    away_s: float = 0.0
    last_failure: str | None = None
    failures: int = 0
    openings: int = 0
    refused: int = 0
    in_flight: int = 0


class StateConnection(Protocol):
    """A connection to the state store, shared by everything in this process.

    Every method that asks the store raises ``StateUnavailable`` when no answer comes within the deadline of the
    connection, at once when it is known to be away, and ``StateError`` when the store refuses the command. A command
    that failed may have run: nothing is repeated, except a script the server did not know. Commands of one ``pipeline``
    keep their order; between calls there is an order only among small ones.

    A call that is known to fail fails where it is made, before anything is awaited.

    ``large=True`` says that a reply over 64 KB is expected: it then travels apart from the small calls, as large
    requests do by themselves.
    """

    @property
    def available(self) -> bool:
        """Whether a call would be attempted; ``False`` means it would fail at once."""
        ...

    @property
    def status(self) -> StoreStatus:
        """A snapshot for health reports."""
        ...

    def call(self, *words: Argument, large: bool = False) -> Awaitable[Reply]:
        """One command, for example ``await state.call("GET", key)``."""
        ...

    def pipeline(self, commands: Iterable[Command], *, large: bool = False) -> Awaitable[list[Reply | StateError]]:
        """Several commands in one write; replies in their order, refused ones as ``StateError`` values."""
        ...

    def run_script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument] = (), *, large: bool = False
    ) -> Awaitable[Reply]:
        """One script by its digest; sent whole when the server does not know it."""
        ...

    async def listen(
        self, *channels: str, on_subscribed: Callable[[], None], on_message: Callable[[bytes], None]
    ) -> NoReturn:
        """Hears what is published on some channels, over one connection of its own, until that is lost.

        Args:
            channels: their names, each once; at least one.
            on_subscribed: called once, when the store has confirmed them all: from then on no message is missed.
            on_message: called with each message.

        Raises:
            StateUnavailable: the subscription was lost or could not be made; listen again, a little later.
            StateError: the store refuses it.
        """
        ...

    async def close(self) -> None:
        """Lets calls in flight finish within their deadline, then disconnects. Later calls fail at once."""
        ...

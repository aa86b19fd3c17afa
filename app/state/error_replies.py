"""What an error reply of Redis means to us.

Only the first word of the reply is kept: the rest may quote keys, arguments and user names. Three answers matter to the
connection itself, the others go to the caller. Source: Redis' ``server.c`` (shared objects), the Valkey and Redis
documentation on ``EVALSHA``, replication and persistence.
"""

from __future__ import annotations

import re

from app.errors import StateError, StateUnavailable

#: Seconds after which a client may try again: one probe of the breaker later.
RETRY_AFTER_S = 1.0

_CODE = re.compile(r"[A-Z][A-Z0-9_]*(?= |$)")
_SCRIPT_LINE = re.compile(r"user_script:\d+|@user_script: ?\d+")

#: The server is there and cannot be used now, neither for reading nor for writing.
_UNFIT = {
    "LOADING": "it is loading its data",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "BUSY": "it is busy with a script",
    "CLUSTERDOWN": "its cluster is down",
    "NOAUTH": "it asks for a password",
    "WRONGPASS": "it refuses the password",
    "MAXCLIENTS": "it has reached its limit of clients",
    "NOPASSWORD": "it has no password, and the URL gives one",
    "NODATABASE": "it has no such database",
}

#: Errors that have no code of their own and that an operator must be able to tell apart.
_CODES_OF_OURS = {
    "ERR max number of clients": "MAXCLIENTS",
    "ERR AUTH <password> called without any password": "NOPASSWORD",
    "ERR DB index is out of range": "NODATABASE",
}

#: The server reads and does not write; reads of others go on, so the connection stays and the breaker does not count.
_WRITES_REFUSED = {
    "OOM": "it is out of memory",
    "MISCONF": "it cannot save to its disk",
    "NOREPLICAS": "it has too few replicas",
}


class UnknownScript(StateError):
    """``NOSCRIPT``: the server has lost the script (restart, failover, ``SCRIPT FLUSH``)."""


class StoreUnfit(StateUnavailable):
    """The server answers and cannot be used: counts as a failure of the store."""


class NotPrimary(StoreUnfit):
    """``READONLY``: we are connected to a replica, the primary is elsewhere now; connect anew."""


class WritesRefused(StateUnavailable):
    """The server answers and refuses this write."""


class WrongType(StateError):
    """``WRONGTYPE``: something else stands under the name; what it means is for who knows what should stand there."""


def ran_nothing(error: StateError) -> bool:
    """Whether the store has answered that it did not run a command; else it may have run."""
    return isinstance(error, StoreUnfit | WritesRefused)


def unavailable(reason: str) -> StateUnavailable:
    """The error of a call that got no answer, for the given reason."""
    return StateUnavailable(f"The state store is not available: {reason}.", retry_after_s=RETRY_AFTER_S)


def error_from_reply(text: str) -> StateError:
    """The error of one error reply.

    Args:
        text: the reply without its leading ``-``, such as ``WRONGTYPE Operation against ...``.
    """
    code = _code_of(text)
    if code == "NOSCRIPT":
        return UnknownScript("The state store does not know the script (NOSCRIPT).")
    if code == "READONLY":
        return NotPrimary(_sentence("it is a read-only replica", code), retry_after_s=RETRY_AFTER_S)
    if code in _UNFIT:
        return StoreUnfit(_sentence(_UNFIT[code], code), retry_after_s=RETRY_AFTER_S)
    if code in _WRITES_REFUSED:
        return WritesRefused(_sentence(_WRITES_REFUSED[code], code), retry_after_s=RETRY_AFTER_S)
    if code == "NOPERM":
        return StateError(
            "The state store does not let its user do this (NOPERM): the Redis user needs the keys ~cw:*, the channels "
            "&cw:* and the commands on both."
        )
    line = _SCRIPT_LINE.search(text)
    where = f" at {line.group().lstrip('@')}" if line else ""
    kind = WrongType if code == "WRONGTYPE" else StateError
    return kind(f"The state store refused a command ({code}{where}).")


def _code_of(text: str) -> str:
    for beginning, code in _CODES_OF_OURS.items():
        if text.startswith(beginning):
            return code
    found = _CODE.match(text)
    return found.group() if found else "ERR"


def _sentence(reason: str, code: str) -> str:
    return f"The state store is not available: {reason} ({code})."

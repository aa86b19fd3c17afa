"""Whether the store would still know of a revocation after a restart, asked of the server and told in words.

``WAITAOF`` (Redis 7.2, Valkey) says how many append-only files have what this connection wrote on their disk. With
``appendfsync everysec`` that takes up to a second; it is asked again and again with a wait of a millisecond, as a
long one would hold up every other call of the connection. Source: redis.io/commands/waitaof.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from app.domain.auth import ApiKey, tenant_tag
from app.errors import StateError
from app.state import keys
from app.state.connection import StateConnection

PAUSE_S: Final = 0.1
#: A second and a half, for a server that syncs every second.
LOOKS: Final = 15

_AOF: Final = re.compile(rb"^aof_enabled:(\d)", re.MULTILINE)


async def revocation_durability(state: StateConnection, key: ApiKey) -> tuple[bool, str]:
    """Whether the revocation of a key is on the server's disk, and a sentence about it.

    Never fails: the revocation itself is made, whatever the server says of its disk.

    Args:
        state: the store; ``key`` was written over its connection for large calls.
        key: the revoked key.
    """
    if state.status.kind == "memory":
        return False, "The gateway keeps its state in memory: a restart forgets this key and all others."
    record = keys.api_key(tenant_tag(key.tenant), key.id)
    try:
        for look in range(LOOKS):
            if look:
                await asyncio.sleep(PAUSE_S)
            # The second reply shows that the server has not lost the write together with what WAITAOF looks at.
            copies, revoked = await state.pipeline([("WAITAOF", 1, 0, 1), ("HGET", record, "revoked")], large=True)
            if isinstance(copies, StateError):
                return False, await _why_not(state)
            if copies[0] >= 1 and revoked == b"1":
                return True, "The server has it in its append-only file on disk."
    except StateError:
        return False, "The server stopped answering before it could say whether this is on its disk."
    return False, "The server has not written it to its disk yet: a crash now may bring the key back."


async def _why_not(state: StateConnection) -> str:
    try:
        found = _AOF.search(await state.call("INFO", "persistence", large=True))
    except StateError:
        found = None
    if found is None:
        return "The server does not say whether it keeps an append-only file."
    if found[1] == b"0":
        return "The server keeps no append-only file: a restart may bring the key back."
    return "The server keeps an append-only file, and is too old to say when it is on disk (Redis 7.2, Valkey)."

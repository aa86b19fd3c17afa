"""The secret that all replicas share when the operator sets none: made once, by whoever comes first.

It salts the pseudonyms that go upstream, so every replica must use the same and a restart must not change it. Setting
``CLAUDE_WRAPPER_SECRET`` makes this module unnecessary.
"""

from __future__ import annotations

import secrets

from app.errors import StateError
from app.state import keys
from app.state.connection import StateConnection
from app.state.scripts import SHARED_SECRET

SECRET_BYTES = 32


async def shared_secret(state: StateConnection) -> bytes:
    """The shared secret, of ``SECRET_BYTES`` bytes; made now if there is none, and kept for 400 days more either way.

    One round trip; replicas that ask together get the same.

    Raises:
        StateUnavailable: the store is away; ask again later.
        StateError: what the store keeps under that name is no secret of ours.
    """
    candidate = secrets.token_bytes(SECRET_BYTES)
    kept = await state.run_script(SHARED_SECRET, (keys.SECRET,), (candidate, keys.SECRET_TTL_S))
    if not isinstance(kept, bytes) or len(kept) < SECRET_BYTES:
        raise StateError("The state store keeps something that is not a secret of ours; set CLAUDE_WRAPPER_SECRET.")
    return kept

"""Several Anthropic keys of the gateway: which of them a call goes with.

Thinking blocks and prompt caches belong to the account of a key, so a conversation has to stay with one. No replica
tells another: each works it out from the call's ``affinity`` and the keys themselves, by rendezvous hashing, so that a
key that is added or taken away moves its own share of the conversations and no other. Cool-down and fall-back are not
here. With one key there is no pool. Source: DESIGN.md section 6.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from hashlib import sha256

from msgspec.structs import replace

from app.config import Config
from app.domain.upstream import Upstream, UpstreamReply, UpstreamRequest
from app.upstream.route import credential


def pool_keys(config: Config) -> tuple[str, ...]:
    """The gateway's API keys as they may stand in a header, each once.

    Raises:
        SettingError: one of them holds characters that no key has; names the variable, never the key.
    """
    first = credential("ANTHROPIC_API_KEY", config.anthropic_api_key)
    further = (credential("CLAUDE_WRAPPER_ANTHROPIC_API_KEYS", key) for key in config.anthropic_api_keys)
    return tuple(dict.fromkeys(key for key in (first, *further) if key))


def own_credentials(config: Config) -> tuple[str, ...]:
    """What calls without a credential of their own are made with: the keys, or without any the token.

    Raises:
        SettingError: one of them holds characters that no credential has; names the variable, never the text.
    """
    if keys := pool_keys(config):
        return keys
    token = credential("ANTHROPIC_AUTH_TOKEN", config.anthropic_auth_token)
    return (token,) if token else ()


class CredentialPool:
    """An ``Upstream`` that chooses the key of every call that has no credential of its own.

    Args:
        lane: sends the calls.
        keys: at least one, each once; their order means nothing to calls with an affinity.
    """

    def __init__(self, lane: Upstream, keys: Sequence[str]) -> None:
        self._lane = lane
        self._keys = [(sha256(key.encode()).digest(), key) for key in keys]
        self._in_turn = itertools.cycle(keys)

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Sends a request with the key of its affinity, or without one with the next in turn.

        Raises:
            GatewayError: see ``app.domain.upstream.Upstream.send``.
        """
        if not request.credential:
            key = self._key_of(request.affinity) if request.affinity else next(self._in_turn)
            request = replace(request, credential=key)
        return await self._lane.send(request)

    async def close(self) -> None:
        """Closes the lane."""
        await self._lane.close()

    def _key_of(self, affinity: str) -> str:
        """The key whose hash together with the affinity is the highest."""
        wanted = sha256(affinity.encode()).digest()
        return max((sha256(wanted + digest).digest(), key) for digest, key in self._keys)[1]

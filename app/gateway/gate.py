"""Who calls: from the keys that a request presents to its caller.

What can be told without asking anybody is told at once: the static key, the admin key, keys of the keys file, tokens
that were checked lately. A key of our own shape is looked up in Redis, on an unprotected gateway, too; the hot route
leaves that to its admission, which asks anyway. Wrong keys are counted by client address, and slowed. Sources:
DESIGN.md sections 3, 4 and 8.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct

from app.config import Config, SettingError
from app.domain.auth import ANONYMOUS, SCOPES, ApiKey, Caller, Source, is_mistyped, read_key, tenant_tag
from app.domain.claims import TokenVerifier, looks_like_token
from app.domain.client_address import TrustedProxies, client_address, throttle_group, trusted_networks
from app.domain.key_file import KeyFile
from app.errors import RateLimited, StateError, Unauthenticated
from app.gateway.admission import Admission, key_error
from app.state import api_keys
from app.state.connection import StateConnection
from app.state.guesses import GuessBook
from app.state.key_memory import KeyMemory, is_good
from app.state.limits import KeyFault

#: A longer bearer is no key and no token of anybody.
LONGEST_KEY: Final = 8192

#: Shorter admin keys are refused, as are shorter keys of the keys file.
SHORTEST_ADMIN_KEY: Final = 16

_ANTHROPIC_KEY: Final = re.compile(rb"sk-ant-[A-Za-z0-9_-]{10,256}")

_STATIC: Final = Caller(
    source="static", tenant="default", tag=tenant_tag("default"), key_id="static", scopes=SCOPES, authenticated=True
)
_ADMIN: Final = Caller(
    source="admin", tenant="admin", tag=tenant_tag("admin"), key_id="admin", scopes=("admin",), authenticated=True
)

_MISSING = (
    "You didn't provide an API key. This gateway is protected: send your key in an Authorization header using Bearer "
    "auth (Authorization: Bearer YOUR_KEY) or in an x-api-key header."
)
_MISTYPED = "Incorrect API key provided: it begins like a key of this gateway, and is cut off or mistyped."
_WRONG = "Incorrect API key provided. Send a key of this gateway, not one of Anthropic or OpenAI."


def trusted_proxies(config: Config) -> TrustedProxies:
    """Whose X-Forwarded-For is believed.

    Raises:
        SettingError: what is set is neither an address nor a network.
    """
    try:
        return trusted_networks(config.trusted_proxies)
    except ValueError as error:
        raise SettingError(f"CLAUDE_WRAPPER_TRUSTED_PROXIES: {error}") from None


def check_keys(config: Config) -> None:
    """Refuses keys that would be none.

    Raises:
        SettingError: a key is longer than any that is accepted, or the admin key is short enough to be guessed, or
            every client has it.
    """
    for name, key in (("API_KEY", config.api_key), ("ADMIN_KEY", config.admin_key)):
        if len(key.encode()) > LONGEST_KEY:
            raise SettingError(f"CLAUDE_WRAPPER_{name}: it is too long; {LONGEST_KEY} bytes at most.")
    key = config.admin_key
    if key and len(key) < SHORTEST_ADMIN_KEY:
        raise SettingError(
            f"CLAUDE_WRAPPER_ADMIN_KEY: it is too short; take {SHORTEST_ADMIN_KEY} random characters or more."
        )
    if key and key == config.api_key:
        raise SettingError("CLAUDE_WRAPPER_ADMIN_KEY: it must not be the key of clients, CLAUDE_WRAPPER_API_KEY.")


class Presented(Struct, frozen=True):
    """What a request presents.

    Args:
        keys: from both headers that may carry one.
        group: whom wrong keys are counted for.
    """

    keys: Sequence[bytes]
    group: Callable[[], str]


class Gate:
    """Tells callers apart, for one worker.

    Args:
        config: the settings.
        state: the store.
        admission: what holds of stored keys while the store is away.
        memory: stored keys that were seen lately.
        guesses: wrong keys by client address.
        tokens: checks JWTs, where they are accepted.
        proxies: whose X-Forwarded-For is believed.
        now: wall clock, Unix seconds.
        monotonic: seconds.

    Attributes:
        key_file: the keys of the keys file, replaced when it changes.
        protected: clients need a key.
        guards_operators: the operator's pages need the scope ``admin``: also where clients need no key, as soon as
            there is an admin key.
    """

    def __init__(
        self,
        config: Config,
        state: StateConnection,
        *,
        admission: Admission,
        memory: KeyMemory,
        guesses: GuessBook,
        tokens: TokenVerifier | None,
        proxies: TrustedProxies,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._state = state
        self._admission = admission
        self._memory = memory
        self._guesses = guesses
        self._tokens = tokens
        self._proxies = proxies
        self._now = now
        self._monotonic = monotonic
        self._static = _digest(config.api_key)
        self._admin = _digest(config.admin_key)
        self._byok = config.byok
        self._counting: set[asyncio.Task[float]] = set()
        self.protected = config.is_protected
        self.guards_operators = self.protected or bool(config.admin_key)
        self.key_file = KeyFile()

    async def caller(self, presented: Presented) -> Caller:
        """Who calls; a stored key comes unverified, see ``verified``.

        Raises:
            Unauthenticated: the key is missing or wrong, expired or revoked.
            RateLimited: too many wrong keys came from this address.
            IdentityUnavailable: the keys of the issuer of tokens cannot be had.
        """
        if not presented.keys:
            if self.protected:
                raise Unauthenticated(_MISSING)
            return ANONYMOUS
        # Both headers count: a client may send its provider's key in one and ours in the other.
        for key in presented.keys:
            if (caller := self._at_once(key)) is not None:
                return caller
        for key in presented.keys:
            if (text := read_key(key)) is not None:
                if not self._memory.knows(text.tag, text.id):
                    self._slow_down(presented)
                return Caller(
                    source="stored",
                    tenant="",
                    tag=text.tag,
                    key_id=text.id,
                    scopes=(),
                    secret_hash=text.secret_hash,
                    verified=False,
                )
        if self._tokens is not None:
            for key in presented.keys:
                if looks_like_token(key):
                    return await self._token(self._tokens, key, presented)
        if self._byok:
            for key in presented.keys:
                if _ANTHROPIC_KEY.fullmatch(key):
                    self._slow_down(presented)
                    return _own_key(key)
        if any(map(is_mistyped, presented.keys)):
            self._slow_down(presented)
            raise Unauthenticated(_MISTYPED)
        if self.protected:
            self._slow_down(presented)
            raise Unauthenticated(_WRONG)
        return ANONYMOUS

    async def _token(self, tokens: TokenVerifier, token: bytes, presented: Presented) -> Caller:
        """The bearer of a token; a signature cannot be guessed, so a good one passes from a slowed address, too."""
        try:
            return await tokens.verify(token)
        except Unauthenticated:
            self._slow_down(presented)
            raise

    async def verified(self, caller: Caller) -> Caller:
        """The caller with what its stored key may do; asks the store where that is needed.

        Raises:
            Unauthenticated: no such key, expired or revoked.
            StateUnavailable: the store is away, and this worker has not seen the key lately.
        """
        if caller.verified:
            return caller
        asked_at = self._now()
        try:
            key = await api_keys.look_up(self._state, caller.tag, caller.key_id)
        except StateError:
            return _owner("stored", caller.tag, self._admission.remembered(caller))
        if key is None:
            raise key_error("unknown_key")
        self._memory.remember(caller.tag, key, asked_at=asked_at)
        if not is_good(key, caller.secret_hash, self._now()):
            raise key_error(self._fault(key, caller))
        return _owner("stored", caller.tag, key)

    def remembers(self, caller: Caller) -> bool:
        """Whether a caller is known to this worker without asking the store."""
        return caller.verified or self._memory.recall(caller.tag, caller.key_id, caller.secret_hash) is not None

    def recalled(self, caller: Caller) -> Caller | None:
        """The caller with what its stored key may do, if this worker has seen the key lately."""
        if caller.verified:
            return caller
        key = self._memory.recall(caller.tag, caller.key_id, caller.secret_hash)
        return None if key is None else _owner("stored", caller.tag, key)

    def wrong(self, presented: Presented) -> None:
        """A presented key turned out to be wrong: counts it, beside the requests."""
        counting = asyncio.ensure_future(self._guesses.wrong(presented.group(), self._monotonic()))
        self._counting.add(counting)
        counting.add_done_callback(self._counting.discard)

    async def close(self) -> None:
        """Ends what runs beside the requests."""
        if self._counting:
            await asyncio.wait(self._counting)
        if self._tokens is not None:
            await self._tokens.close()

    def group(self, peer: str | None, forwarded_for: Sequence[bytes]) -> str:
        """Whom wrong keys are counted for: the client's address, or its network."""
        return throttle_group(client_address(peer, forwarded_for, self._proxies))

    def _at_once(self, key: bytes) -> Caller | None:
        """A caller that needs no look-up."""
        if len(key) > LONGEST_KEY:
            return None
        digest = sha256(key).digest()
        if self._static is not None and hmac.compare_digest(digest, self._static):
            return _STATIC
        if self._admin is not None and hmac.compare_digest(digest, self._admin):
            return _ADMIN
        if (of_file := self.key_file.keys.get(digest)) is not None:
            return self._of_file(of_file)
        if self._tokens is not None and looks_like_token(key) and (known := self._tokens.known(key)) is not None:
            return known
        return None

    def _of_file(self, key: ApiKey) -> Caller:
        if key.expires_at is not None and self._now() >= key.expires_at:
            raise key_error("expired")
        return _owner("file", tenant_tag(key.tenant), key)

    def _slow_down(self, presented: Presented) -> None:
        wait_s = self._guesses.blocked_for(presented.group(), self._monotonic())
        if wait_s > 0:
            raise RateLimited(
                "Too many wrong API keys came from this address. Please try again later, with the right one.",
                limit="guesses_per_minute",
                retry_after_s=wait_s,
            )

    def _fault(self, key: ApiKey, caller: Caller) -> KeyFault:
        presented = caller.secret_hash.hex()
        is_current = hmac.compare_digest(presented, key.secret_hash)
        is_previous = self._now() < key.previous_until and hmac.compare_digest(presented, key.previous_hash)
        if not (is_current or is_previous):
            return "unknown_key"
        return "revoked" if key.revoked_at is not None else "expired"


def _digest(key: str) -> bytes | None:
    """What a configured key is compared by; ``None`` for none."""
    return sha256(key.encode()).digest() if key else None


def _own_key(key: bytes) -> Caller:
    """A client that pays Anthropic itself; whether the key is good, only Anthropic can tell."""
    return Caller(
        source="byok",
        tenant="byok",
        tag=tenant_tag("byok"),
        key_id="byok-" + base64.b32encode(sha256(key).digest()[:10]).decode().lower(),
        authenticated=True,
        scopes=("inference",),
        credential=key.decode(),
    )


def _owner(source: Source, tag: str, key: ApiKey) -> Caller:
    """Who calls with a key that is good."""
    return Caller(
        source=source,
        tenant=key.tenant,
        tag=tag,
        key_id=key.id,
        authenticated=True,
        scopes=key.scopes,
        models=key.models,
        limits=key.limits,
        outage=key.outage,
        cache=key.cache,
    )

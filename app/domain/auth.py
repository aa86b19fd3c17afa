"""Who calls: the API key or token behind a request, the tenant it belongs to, and what it may do; pure.

Key text: ``sk-cw-<tag>_<id>_<secret><checksum>``. The tag names the tenant without telling its name, so no look-up is
needed to find the tenant's slot in Redis; the id names the key; the checksum (CRC-32 of all before it) tells a
mistyped key without asking Redis. Only the SHA-256 of the whole text is stored: the secret has 190 random bits, which
need no slow hash. Source: DESIGN.md section 3.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from msgspec import Struct

from app.domain.caching import NO_CACHE_RULE, CacheRule
from app.domain.limits import NO_LIMITS, Limits, OutagePolicy

Scope = Literal["inference", "sessions", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("inference", "sessions", "admin")
#: What a key may do that names no scopes.
DEFAULT_SCOPES: Final[tuple[Scope, ...]] = ("inference", "sessions")

#: Begins like a key of ours, whatever has become of its end.
_MISTYPED: Final = re.compile(rb"sk-cw-[a-z2-7]{16}_")

#: How a request's caller was told.
Source = Literal["anonymous", "static", "admin", "stored", "file", "jwt", "byok"]

#: Names of tenants and keys: for people, and safe in logs, headers and files.
TENANT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KEY_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,128}")

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_CHARS: Final = 12
SECRET_CHARS: Final = 32
_CHECKSUM_CHARS: Final = 6
PREFIX: Final = "sk-cw-"

_KEY = re.compile(
    rb"sk-cw-(?P<tag>[a-z2-7]{16})_(?P<id>[0-9A-Za-z]{%d})_(?P<secret>[0-9A-Za-z]{%d})(?P<checksum>[0-9A-Za-z]{6})"
    % (ID_CHARS, SECRET_CHARS)
)


class ApiKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An API key as it is kept; its secret is not among it.

    Args:
        id: ``ID_CHARS`` characters, unique; names the key in lists, logs and routes.
        tenant: name of the tenant it belongs to.
        name: for people.
        secret_hash: SHA-256 of the key text, lower-case hexadecimal.
        scopes: what it may do.
        models: names or ``prefix*`` patterns of models it may use; empty means all.
        limits: of this key; what is not set falls back to the deployment's defaults.
        outage: while Redis is away; ``None`` is the deployment's setting.
        cache: its response cache and whom it shares with; what is not set falls back to the deployment's.
        created_at: Unix seconds.
        expires_at: Unix seconds; ``None`` never.
        revoked_at: Unix seconds; ``None`` as long as it is good.
        previous_hash: of the secret before the last rotation, good until ``previous_until``.
        previous_until: Unix seconds.
        version: grows with every change.
        metadata: the operator's own notes, given back as they are.
    """

    id: str
    tenant: str
    name: str
    secret_hash: str
    scopes: tuple[Scope, ...] = DEFAULT_SCOPES
    models: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS
    outage: OutagePolicy | None = None
    cache: CacheRule = NO_CACHE_RULE
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    previous_hash: str = ""
    previous_until: float = 0.0
    version: int = 1
    metadata: dict[str, str] = {}


class Caller(Struct, frozen=True, kw_only=True):
    """The caller of a request.

    Args:
        source: how it was told; ``stored`` has to be looked up in Redis before it is believed, see ``verified``.
        tenant: name of the tenant; empty as long as a stored key has not been looked up.
        tag: of the tenant: the part of every Redis key's name that places it.
        key_id: whose limits and spend these are, within the tenant: id of the key, or a name such as ``anonymous``.
        authenticated: a key was presented and accepted (a stored one once ``verified``).
        scopes: what it may do.
        models: models it may use; empty means all.
        limits: its own limits, where they are known without Redis.
        outage: its policy while Redis is away; ``None`` is the deployment's.
        cache: its response cache and whom it shares with, where that is known without Redis.
        secret_hash: SHA-256 of the presented text of a ``stored`` key, raw bytes.
        subject: ``sub`` of a JWT.
        credential: the client's own Anthropic key (``byok``); never logged.
        verified: nothing about it is left to be looked up.
    """

    tag: str
    source: Source = "anonymous"
    tenant: str = "anonymous"
    key_id: str = "anonymous"
    authenticated: bool = False
    scopes: tuple[Scope, ...] = DEFAULT_SCOPES
    models: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS
    outage: OutagePolicy | None = None
    cache: CacheRule = NO_CACHE_RULE
    secret_hash: bytes = b""
    subject: str = ""
    credential: str = ""
    verified: bool = True


def tenant_tag(tenant: str) -> str:
    """The opaque tag of a tenant: 16 letters and digits, the same on every replica and after every restart."""
    digest = hashlib.sha256(b"claude-wrapper tenant:" + tenant.encode()).digest()
    return base64.b32encode(digest[:10]).decode().lower()


#: Everybody, on a gateway without protection.
ANONYMOUS: Final = Caller(tag=tenant_tag("anonymous"))


class KeyText(Struct, frozen=True):
    """What a key of our shape says of itself.

    Args:
        tag: of its tenant.
        id: of the key.
        secret_hash: SHA-256 of the whole text, raw bytes.
    """

    tag: str
    id: str
    secret_hash: bytes


def key_text(tenant: str, key_id: str, secret: str) -> str:
    """The text of a key, as its owner gets it once.

    Args:
        tenant: name of the tenant.
        key_id: ``ID_CHARS`` of ``ALPHABET``.
        secret: ``SECRET_CHARS`` random ones of ``ALPHABET``.
    """
    body = f"{PREFIX}{tenant_tag(tenant)}_{key_id}_{secret}"
    return body + _checksum(body.encode())


def read_key(presented: bytes) -> KeyText | None:
    """What a presented bearer says, if it has the shape and the checksum of a key of ours."""
    if not presented.startswith(b"sk-cw-"):
        return None
    found = _KEY.fullmatch(presented)
    if found is None or _checksum(presented[:-_CHECKSUM_CHARS]).encode() != found["checksum"]:
        return None
    return KeyText(found["tag"].decode(), found["id"].decode(), hashlib.sha256(presented).digest())


def is_mistyped(presented: bytes) -> bool:
    """Whether a bearer that is no key begins like one of ours: it was cut off, or a character is wrong."""
    return _MISTYPED.match(presented) is not None and read_key(presented) is None


def _checksum(body: bytes) -> str:
    number = zlib.crc32(body)
    digits = ""
    for _ in range(_CHECKSUM_CHARS):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def allows_model(patterns: Sequence[str], names: Iterable[str]) -> bool:
    """Whether a model is among those that a key may use.

    Args:
        patterns: names, or prefixes that end in ``*``; none means all.
        names: everything the model is called here: its id, what the client asked for, its short name.
    """
    if not patterns:
        return True
    called = tuple(names)
    return any(
        name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1]))
        for pattern in patterns
        for name in called
    )

"""The keys file: API keys and limits of tenants that an operator keeps in TOML or YAML; pure.

    keys:
      - key: at-least-sixteen-characters      # or key_sha256: its SHA-256
        tenant: acme
        name: nightly batch
        models: [claude-haiku-*]
        limits: {requests_per_minute: 60, budget_day: 5.0}
        cache: {mode: on, ttl: 600, share_within: tenant}
    tenants:
      acme: {concurrency: 20, budget_month: 100}

Names and values are those of ``POST /admin/keys``. A mistake anywhere refuses the whole file and names the place; no
message quotes the file, which holds keys.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct

from app.domain.auth import PREFIX, ApiKey, read_key, tenant_tag
from app.domain.closed_wire import converted, invalid
from app.domain.key_changes import checked_name, limits_from_wire, with_fields
from app.domain.limits import Limits
from app.errors import InvalidRequest
from app.schemas.admin import FileContent, FileKey

Kind = Literal["toml", "yaml"]

_TEXT: Final = re.compile(r"[!-~]{16,512}")
_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
#: What the parsers let through of Python's: nested too deeply, a number that is too long, a YAML tag and a value that
#: do not fit each other.
_OF_PYTHON: Final = (RecursionError, ValueError, ArithmeticError, LookupError, AttributeError)
#: Where a parser stopped, in the words of tomllib and of PyYAML; the rest of what they say may quote the file.
_POSITION: Final = re.compile(r"line \d+, column \d+|end of document")


class KeyFileError(ValueError):
    """The file is not accepted; the text names the place and never quotes a value."""


class KeyFile(Struct, frozen=True):
    """What a keys file says.

    Args:
        keys: SHA-256 of the text of a key, raw bytes -> the key.
        tenants: tag of a tenant -> its limits over all its keys.
    """

    keys: dict[bytes, ApiKey] = {}
    tenants: dict[str, Limits] = {}


def parse_key_file(text: str, kind: Kind) -> KeyFile:
    """A keys file from its text.

    A key whose expiry is past is taken up all the same: it is expired, which is no mistake.

    Raises:
        KeyFileError: something in it is wrong.
    """
    try:
        content = converted(_tree(text, kind), FileContent)
        keys = _keys(content)
        tenants = {
            tenant_tag(checked_name(name, param=f"tenants.{name[:64]}")): limits_from_wire(
                wire, param=f"tenants.{name}"
            )
            for name, wire in content.tenants.items()
        }
    except InvalidRequest as exc:
        raise KeyFileError(exc.message.replace("body of your request", "file")) from None
    return KeyFile(keys, tenants)


def _tree(text: str, kind: Kind) -> Any:
    decode = msgspec.toml.decode if kind == "toml" else msgspec.yaml.decode
    try:
        tree = decode(text)
    except (msgspec.DecodeError, *_OF_PYTHON) as exc:
        found = _POSITION.search(str(exc))
        raise KeyFileError(f"It is not valid {kind.upper()} ({found[0] if found else 'position unknown'}).") from None
    return {} if tree is None else tree  # an empty YAML document


def _keys(content: FileContent) -> dict[bytes, ApiKey]:
    keys: dict[bytes, ApiKey] = {}
    ids: set[tuple[str, str]] = set()
    for index, wire in enumerate(content.keys):
        place = f"keys[{index}]."
        digest = _digest(wire, place)
        key = _key(wire, digest, place)
        if digest in keys:
            raise invalid(f"{place}key", "expected another key: this one stands above")
        if (key.tenant, key.id) in ids:
            raise invalid(f"{place}id", "expected another id: a key of the same tenant above has this one")
        keys[digest] = key
        ids.add((key.tenant, key.id))
    return keys


def _key(wire: FileKey, digest: bytes, place: str) -> ApiKey:
    key_id = f"file-{digest.hex()[:12]}" if wire.id is UNSET else checked_name(wire.id, param=f"{place}id")
    tenant = checked_name(wire.tenant, param=f"{place}tenant")
    return with_fields(ApiKey(id=key_id, tenant=tenant, name=key_id, secret_hash=digest.hex()), wire, place=place)


def _digest(wire: FileKey, place: str) -> bytes:
    """What a presented key is compared by; refuses what nobody could present."""
    if wire.key is not UNSET and wire.key_sha256 is not UNSET:
        raise invalid(f"{place}key_sha256", "expected either key or key_sha256, not both")
    if wire.key_sha256 is not UNSET:
        if not _SHA256.fullmatch(wire.key_sha256):
            raise invalid(f"{place}key_sha256", "expected a SHA-256: 64 hexadecimal digits")
        return bytes.fromhex(wire.key_sha256)
    if wire.key is UNSET:
        raise invalid(f"{place}key", "expected the text of the key here, or its SHA-256 in key_sha256")
    if not _TEXT.fullmatch(wire.key):
        raise invalid(f"{place}key", "expected 16 to 512 printable ASCII characters without spaces")
    if wire.key.startswith(PREFIX) and read_key(wire.key.encode()) is None:
        raise invalid(
            f"{place}key", f"what begins with {PREFIX} must be a whole key as it was issued; this is mistyped"
        )
    return hashlib.sha256(wire.key.encode()).digest()

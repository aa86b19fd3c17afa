"""Signatures of thinking blocks: they prove that a block is ours, unmodified, and tell where it was made.

A signature is base64 of a sealed record (model, credential, prefix of the conversation, thinking block before it) and
a keyed hash over that record and the text as it was shown. Anthropic's own are opaque; nothing may look into these
either.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from msgspec import Struct

_VERSION: Final = b"\x01"
_PREFIX: Final = 16
_ORG: Final = 4
_ID: Final = 8
_MAC: Final = 16

#: ``previous`` of a block that was made with no thinking before it.
NO_BLOCK: Final = bytes(_ID)


class Seal(Struct, frozen=True):
    """What a signature records about its block.

    Args:
        model: the id that made it.
        org: the credential it was made under.
        prefix: hash of the conversation before it, without thinking.
        previous: id of the thinking block before it in that conversation, ``NO_BLOCK`` for none.
        id: the block's own id.
    """

    model: str
    org: bytes
    prefix: bytes
    previous: bytes
    id: bytes = NO_BLOCK


def org_of(credential: str) -> bytes:
    """The organization behind a credential: every key is an organization of its own."""
    return hashlib.blake2b(credential.encode(), digest_size=_ORG).digest()


class Signer:
    """Makes and checks signatures with one key."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()[:64]

    def sign(self, seal: Seal, shown: str) -> tuple[str, bytes]:
        """The signature of a block whose text is shown as given, and the block's id."""
        model = seal.model.encode()
        record = _VERSION + bytes([len(model)]) + model + seal.org + seal.prefix + seal.previous
        mac = self._mac(record, shown)
        return base64.b64encode(record + mac).decode(), mac[:_ID]

    def verify(self, signature: str, shown: str) -> Seal | None:
        """The record behind a signature; None where it is not ours or the text was changed."""
        try:
            raw = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            return None
        record, mac = raw[:-_MAC], raw[-_MAC:]
        if record[:1] != _VERSION or not hmac.compare_digest(mac, self._mac(record, shown)):
            return None
        start = 2 + record[1]
        fields = record[start:]
        return Seal(
            model=record[2:start].decode(),
            org=fields[:_ORG],
            prefix=fields[_ORG : _ORG + _PREFIX],
            previous=fields[_ORG + _PREFIX :],
            id=mac[:_ID],
        )

    def is_ours(self, signature: str) -> bool:
        """Whether a signature at least looks like one of these, so that only its text can be wrong."""
        try:
            return base64.b64decode(signature, validate=True)[:1] == _VERSION
        except (binascii.Error, ValueError):
            return False

    def _mac(self, record: bytes, shown: str) -> bytes:
        return hashlib.blake2b(record + shown.encode(), key=self._key, digest_size=_MAC).digest()

"""JWTs for tests: honest ones, forged ones, the keys of an issuer and its JWKS."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

#: Unix seconds at which the tokens are made.
NOW = 1_800_000_000.0

SECRET = "a secret of more than thirty-two bytes"


@functools.cache
def rsa_key(name: str = "one", bits: int = 2048) -> rsa.RSAPrivateKey:
    """An issuer's RSA key, the same for the same name."""
    return rsa.generate_private_key(65537, bits)


@functools.cache
def ec_key(name: str = "one", curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """An issuer's EC key, the same for the same name."""
    return ec.generate_private_key(curve())


def public_pem(key: Any) -> bytes:
    """The public key of a private one."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: Any) -> bytes:
    """A private key as an issuer keeps it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good token; a claim that is ``...`` is left out."""
    given = {"sub": "user-1", "exp": NOW + 300, **changes}
    return {name: value for name, value in given.items() if value is not ...}


def token(
    key: Any = SECRET, algorithm: str = "HS256", *, header: Mapping[str, Any] | None = None, **changes: Any
) -> bytes:
    """A token as an issuer makes it."""
    return jwt.encode(claims(**changes), key, algorithm, headers=dict(header or {})).encode()


def forged(header: Mapping[str, Any], payload: bytes | None = None, *, key: bytes = b"", sign: bool = True) -> bytes:
    """A token with any header and payload; signed by HMAC with any key, or with an empty signature."""
    body = msgspec.json.encode(claims()) if payload is None else payload
    signed = base64url(msgspec.json.encode(header)) + b"." + base64url(body)
    return signed + b"." + (base64url(hmac.digest(key, signed, hashlib.sha256)) if sign else b"")


def base64url(data: bytes) -> bytes:
    """Without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def jwk(key: Any, kid: str | None = None, /, **changes: Any) -> dict[str, Any]:
    """The public JWK of a key; a field that is ``...`` is left out."""
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    made = {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": ... if kid is None else kid, **changes}
    made.pop("key_ops", None)
    return {name: value for name, value in made.items() if value is not ...}


def jwks(*keys: Mapping[str, Any]) -> bytes:
    """A JWKS document."""
    return msgspec.json.encode({"keys": keys})

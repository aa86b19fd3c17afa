"""Keys that tokens are checked with, each bound to the one algorithm it is for.

The binding is what makes confusion of algorithms impossible: a token never decides how a key is used. Source: RFC 8725
sections 3.1 and 3.2; RFC 7517 and 7518 for the form of a JWK.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import HMACAlgorithm

Algorithm = Literal["HS256", "RS256", "ES256"]
PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey

MIN_SECRET_BYTES: Final = 32
MIN_RSA_BITS: Final = 2048

#: The algorithm of a JWK by its ``kty``.
_ALGORITHM_OF: Final[dict[object, Algorithm]] = {"RSA": "RS256", "EC": "ES256"}


class KeyRefused(ValueError):
    """A key that is not fit to check tokens; the text says what is wrong with it, and nothing of the key."""


class SigningKey:
    """A key and the algorithm it is for.

    Args:
        algorithm: ``alg`` of the tokens it checks.
        key: the secret, or the public key.
        kid: by which tokens name it; ``None`` when it has no name.
    """

    __slots__ = ("algorithm", "key", "kid")

    def __init__(self, algorithm: Algorithm, key: bytes | PublicKey, kid: str | None = None) -> None:
        self.algorithm = algorithm
        self.key = key
        self.kid = kid


def secret_key(secret: str) -> SigningKey:
    """The key of HS256 tokens.

    Raises:
        KeyRefused: it is too short, or a key of another kind.
    """
    raw = secret.encode()
    if len(raw) < MIN_SECRET_BYTES:
        raise KeyRefused(f"takes a secret of at least {MIN_SECRET_BYTES} bytes (RFC 7518 section 3.2)")
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(raw)
    except jwt.InvalidKeyError:
        raise KeyRefused("takes a secret, not a public key, a private key, a certificate or a JWK") from None
    return SigningKey("HS256", raw)


def pem_key(pem: bytes) -> SigningKey:
    """The key of RS256 or ES256 tokens, by its kind.

    Args:
        pem: a public key in PEM.

    Raises:
        KeyRefused: it is no public key, or of a kind that neither algorithm takes.
    """
    if b"PRIVATE KEY-----" in pem:
        raise KeyRefused("holds a private key, which belongs to the issuer alone: give the public key")
    if b"CERTIFICATE-----" in pem:
        raise KeyRefused("holds a certificate: give its public key (openssl x509 -pubkey -noout)")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused("holds no public key in PEM (-----BEGIN PUBLIC KEY-----)") from None
    if isinstance(key, RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise KeyRefused(f"holds an RSA key of less than {MIN_RSA_BITS} bits")
        return SigningKey("RS256", key)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return SigningKey("ES256", key)
    raise KeyRefused("holds a key that fits neither RS256 (RSA) nor ES256 (EC, curve P-256)")


def jwks_keys(document: bytes) -> tuple[SigningKey, ...]:
    """The keys of a JWKS that can check tokens here; others are skipped, as RFC 7517 section 5 wants it.

    Args:
        document: JSON, ``{"keys": [...]}``.

    Raises:
        KeyRefused: it is no JWKS.
    """
    try:
        entries = msgspec.json.decode(document, type=dict[str, Any]).get("keys")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        raise KeyRefused("is no JWKS")
    keys = (_jwk(entry) for entry in entries if isinstance(entry, dict))
    return tuple(key for key in keys if key is not None)


def _jwk(entry: dict[str, Any]) -> SigningKey | None:
    """One key of a JWKS: RSA of at least 2048 bits or EC P-256, for signatures, public."""
    kind, kid = entry.get("kty"), entry.get("kid")
    if kind not in ("RSA", "EC") or not isinstance(kid, str | None):
        return None
    algorithm = _ALGORITHM_OF[kind]
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm or "d" in entry:
        return None
    try:
        key = jwt.PyJWK(entry, algorithm).key
    except jwt.PyJWTError:
        return None
    if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return SigningKey(algorithm, key, kid)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return SigningKey(algorithm, key, kid)
    return None

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.identity.signing_keys import KeyRefused, jwks_keys
from tests.support.tokens import ec_key, jwk, jwks, rsa_key


def kinds(document: bytes) -> list[tuple[str, str | None]]:
    return [(key.algorithm, key.kid) for key in jwks_keys(document)]


def test_rsa_and_p256_keys_are_taken_each_for_its_one_algorithm() -> None:
    document = jwks(jwk(rsa_key(), "r", use="sig", alg="RS256"), jwk(ec_key(), "e"), jwk(ec_key()))
    assert kinds(document) == [("RS256", "r"), ("ES256", "e"), ("ES256", None)]


@pytest.mark.parametrize(
    "entry",
    [
        jwk(rsa_key(), "r", use="enc"),
        jwk(rsa_key(), "r", use=5),
        jwk(rsa_key(), "r", alg="PS256"),
        jwk(rsa_key(), "r", alg="HS256"),
        jwk(rsa_key(), "r", alg="ES256"),
        jwk(rsa_key(), "r", alg=None),
        jwk(ec_key(), "e", alg="RS256"),
        jwk(rsa_key("small", 1024), "r"),
        jwk(ec_key("other", ec.SECP384R1), "e"),
        jwk(ec_key(), "e", crv="P-384"),
        jwk(ec_key(), "e", x="AAAA"),
        jwk(ec_key(), "e", y=jwk(ec_key("two"))["y"]),
        jwk(rsa_key(), "r", n=...),
        jwk(rsa_key(), "r", n=5),
        jwk(rsa_key(), "r", e="!"),
        jwk(rsa_key(), "r", d="AQAB"),
        jwk(rsa_key(), "r", kid=5),
        jwk(rsa_key(), "r", kty=["RSA"]),
        {"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "kid": "s", "alg": "HS256"},
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {},
    ],
    ids=repr,
)
def test_any_other_key_is_skipped_and_spoils_no_other(entry: dict[str, object]) -> None:
    assert kinds(jwks(entry, jwk(ec_key(), "good"))) == [("ES256", "good")]


def test_what_is_no_object_among_the_keys_is_skipped() -> None:
    document = msgspec.json.encode({"keys": [5, None, "x", [], jwk(ec_key(), "good")], "more": 1})
    assert kinds(document) == [("ES256", "good")]


def test_an_empty_set_is_a_set() -> None:
    assert jwks_keys(b'{"keys": []}') == ()


@pytest.mark.parametrize(
    "document", [b"", b"<html>", b"[]", b"{}", b'{"keys": {}}', b'{"keys": null}', b"\xff\xfe", b"[" * 100_000]
)
def test_what_is_no_jwks_is_refused(document: bytes) -> None:
    with pytest.raises(KeyRefused, match="no JWKS"):
        jwks_keys(document)

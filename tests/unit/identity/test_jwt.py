"""Which tokens are let in; every attack on JWTs that is known by name is refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.config import Config
from app.domain.auth import tenant_tag
from app.domain.claims import subject_id
from app.domain.limits import Limits
from app.errors import Unauthenticated
from app.identity import open_jwt
from app.identity.jwt import MAX_REMEMBERED, JwtVerifier
from tests.support.tokens import (
    NOW,
    SECRET,
    base64url,
    claims,
    ec_key,
    forged,
    jwk,
    jwks,
    private_pem,
    public_pem,
    rsa_key,
    token,
)


class Clock:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now_s = NOW

    def __call__(self) -> float:
        return self.now_s


def verifier(*, now: Callable[[], float] = lambda: NOW, document: bytes = b"", **settings: Any) -> JwtVerifier:
    """A verifier of HS256 tokens unless the settings say otherwise; ``document`` is what its JWKS would be."""

    async def fetch(_url: str) -> bytes:
        return document

    opened = open_jwt(Config(**(settings or {"jwt_secret": SECRET})), fetch=fetch, now=now, clock=now)
    assert opened is not None
    return opened


def with_jwks(*keys: dict[str, Any], **settings: Any) -> JwtVerifier:
    return verifier(document=jwks(*keys), jwt_jwks_url="https://issuer.example/jwks", **settings)


@pytest.fixture
def with_pem(tmp_path: Path):
    def make(key: Any, **settings: Any) -> JwtVerifier:
        path = tmp_path / "key.pem"
        path.write_bytes(public_pem(key))
        return verifier(jwt_public_key=str(path), **settings)

    return make


async def refusal(by: JwtVerifier, presented: bytes) -> str:
    """Why a token is refused."""
    with pytest.raises(Unauthenticated) as raised:
        await by.verify(presented)
    assert raised.value.code == "invalid_api_key"
    assert by.known(presented) is None
    return raised.value.message


# Good tokens


async def test_a_token_of_each_algorithm_is_let_in(with_pem) -> None:
    assert (await verifier().verify(token())).subject == "user-1"
    assert (await with_pem(rsa_key()).verify(token(rsa_key(), "RS256"))).subject == "user-1"
    assert (await with_pem(ec_key()).verify(token(ec_key(), "ES256"))).subject == "user-1"


async def test_claims_say_who_it_is() -> None:
    caller = await verifier().verify(token(tenant="acme", scope="inference openid", limits={"concurrency": 2}))
    assert (caller.source, caller.authenticated, caller.verified) == ("jwt", True, True)
    assert (caller.tenant, caller.tag, caller.key_id) == ("acme", tenant_tag("acme"), subject_id("user-1"))
    assert (caller.scopes, caller.limits) == (("inference",), Limits(concurrency=2))


async def test_a_kid_says_nothing_of_a_key_that_is_configured_itself(with_pem) -> None:
    signed = token(rsa_key(), "RS256", header={"kid": "whatever", "typ": "at+jwt", "x5t": "thumbprint"})
    assert (await with_pem(rsa_key()).verify(signed)).subject == "user-1"


async def test_a_secret_and_a_jwks_serve_side_by_side() -> None:
    both = with_jwks(jwk(ec_key(), "e"), jwt_secret=SECRET)
    assert await both.verify(token())
    assert await both.verify(token(ec_key(), "ES256", header={"kid": "e"}))


# Signatures and algorithms


async def test_a_token_that_somebody_else_signed_is_refused(with_pem) -> None:
    assert "signature" in await refusal(verifier(), token("another secret of thirty-two bytes and more"))
    assert "signature" in await refusal(with_pem(rsa_key()), token(rsa_key("two"), "RS256"))
    assert "signature" in await refusal(with_pem(ec_key()), token(ec_key("two"), "ES256"))


async def test_a_token_that_was_changed_is_refused() -> None:
    head, _, signature = token().split(b".")
    changed = b".".join((head, base64url(msgspec.json.encode(claims(sub="root"))), signature))
    assert "signature" in await refusal(verifier(), changed)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", " none", "", None, 0, [], ["HS256"], {"HS256": 1}])
@pytest.mark.parametrize("sign", [True, False], ids=["signed", "unsigned"])
async def test_no_algorithm_is_no_algorithm_in_any_spelling(alg: object, sign: bool) -> None:
    presented = forged({"alg": alg, "typ": "JWT"}, key=SECRET.encode(), sign=sign)
    assert "not signed with an accepted algorithm (HS256)" in await refusal(verifier(), presented)


async def test_a_token_without_alg_is_refused() -> None:
    assert "accepted algorithm" in await refusal(verifier(), forged({"typ": "JWT"}, key=SECRET.encode()))


@pytest.mark.parametrize("alg", ["hs256", "HS384", "HS512", "RS256", "PS256", "ES384", "EdDSA", "HS256 ", "HS256\x00"])
async def test_an_algorithm_that_is_not_accepted_is_refused_although_the_signature_fits(alg: str) -> None:
    presented = forged({"alg": alg}, key=SECRET.encode())
    assert "accepted algorithm" in await refusal(verifier(), presented)


@pytest.mark.parametrize("text", [bytes.strip, bytes], ids=["stripped", "as_is"])
async def test_a_public_key_is_never_the_secret_of_hs256(with_pem, text: Callable[[bytes], bytes]) -> None:
    presented = forged({"alg": "HS256"}, key=text(public_pem(rsa_key())))
    assert "accepted algorithm (RS256)" in await refusal(with_pem(rsa_key()), presented)
    assert "signature" in await refusal(with_pem(rsa_key(), jwt_secret=SECRET), presented)


@pytest.mark.parametrize("kid", ["r", None])
async def test_a_key_of_the_jwks_is_never_the_secret_of_hs256(kid: str | None) -> None:
    entry = jwk(rsa_key(), "r")
    header = {"alg": "HS256"} if kid is None else {"alg": "HS256", "kid": kid}
    for key in (public_pem(rsa_key()), msgspec.json.encode(entry), entry["n"].encode()):
        assert "accepted algorithm" in await refusal(with_jwks(entry), forged(header, key=key))
        assert "signature" in await refusal(with_jwks(entry, jwt_secret=SECRET), forged(header, key=key))


async def test_an_algorithm_has_to_fit_the_kind_of_key(with_pem) -> None:
    assert "accepted algorithm (RS256)" in await refusal(with_pem(rsa_key()), token(ec_key(), "ES256"))
    assert "accepted algorithm (ES256)" in await refusal(with_pem(ec_key()), token(rsa_key(), "RS256"))


async def test_the_kid_of_a_key_of_another_kind_is_refused() -> None:
    issuer = with_jwks(jwk(rsa_key(), "r"), jwk(ec_key(), "e"))
    assert "no key of its issuer" in await refusal(issuer, token(ec_key(), "ES256", header={"kid": "r"}))
    assert "no key of its issuer" in await refusal(issuer, token(rsa_key(), "RS256", header={"kid": "e"}))
    assert "signature" in await refusal(issuer, token(ec_key("two"), "ES256", header={"kid": "e"}))


async def test_a_key_whose_jwk_names_another_algorithm_is_not_used() -> None:
    issuer = with_jwks(jwk(rsa_key(), "r", alg="PS256"), jwk(ec_key(), "e", alg="ES256"))
    assert "no key of its issuer" in await refusal(issuer, token(rsa_key(), "RS256", header={"kid": "r"}))


async def test_of_the_possible_algorithms_only_the_accepted_ones_are() -> None:
    issuer = with_jwks(jwk(rsa_key(), "r"), jwk(ec_key(), "e"), jwt_algorithms=("ES256",))
    assert "accepted algorithm (ES256)" in await refusal(issuer, token(rsa_key(), "RS256", header={"kid": "r"}))


# Headers


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("jku", "https://evil.example/jwks.json"),
        ("x5u", "https://evil.example/cert.pem"),
        ("jwk", jwk(rsa_key("evil"))),
        ("x5c", ["MIIB"]),
        ("crit", ["exp"]),
        ("crit", ["b64"]),
        ("crit", []),
        ("jku", None),
        ("jwk", {}),
    ],
)
async def test_a_token_that_brings_its_own_key_or_rules_is_refused(field: str, value: object) -> None:
    presented = forged({"alg": "HS256", field: value}, key=SECRET.encode())
    assert await refusal(verifier(), presented) in (
        f"The token's header has the field {field}, which is not accepted.",
        "The token is no signed JWT.",
    )


async def test_a_key_in_the_header_is_not_used_even_if_it_fits() -> None:
    evil = rsa_key("evil")
    presented = token(evil, "RS256", header={"jwk": jwk(evil), "kid": "r"})
    assert "field jwk" in await refusal(with_jwks(jwk(rsa_key(), "r")), presented)


async def test_a_payload_apart_from_the_token_is_refused() -> None:
    presented = forged({"alg": "HS256", "b64": False, "crit": ["b64"]}, b"", key=SECRET.encode())
    assert "crit" in await refusal(verifier(), presented)


@pytest.mark.parametrize(
    "kid", ["../../../../dev/null", "/etc/passwd", "' OR 1=1 --", "", "r\x00", "http://evil.example/", "x" * 4000, "R"]
)
async def test_a_kid_is_a_name_among_the_keys_and_nothing_else(kid: str) -> None:
    for key in (b"", b"\x00", kid.encode()):
        presented = forged({"alg": "HS256", "kid": kid}, key=key)
        assert await refusal(with_jwks(jwk(rsa_key(), "r"), jwt_secret=SECRET), presented)
    presented = token(rsa_key(), "RS256", header={"kid": kid})
    assert "no key of its issuer" in await refusal(with_jwks(jwk(rsa_key(), "r")), presented)


@pytest.mark.parametrize("kid", [5, None, ["r"], {"r": 1}, True])
async def test_a_kid_that_is_no_text_is_refused(kid: object) -> None:
    presented = forged({"alg": "HS256", "kid": kid}, key=SECRET.encode())
    assert await refusal(verifier(), presented) == "The token is no signed JWT."


async def test_a_token_over_8_kib_is_refused_before_anything_is_read() -> None:
    assert await refusal(verifier(), token(pad="x" * 8192)) == "The token is larger than 8192 bytes."
    assert await verifier().verify(token(pad="x" * 5000))


# Claims


async def test_a_token_is_good_until_its_end_and_the_leeway() -> None:
    clock = Clock()
    by = verifier(now=clock)
    clock.now_s = NOW + 309
    assert await by.verify(token())
    clock.now_s = NOW + 310
    assert await refusal(by, token()) == "The token has expired; get a new one from its issuer."


async def test_a_token_of_the_future_is_refused() -> None:
    assert "not yet valid (nbf)" in await refusal(verifier(), token(nbf=NOW + 11))
    assert "not yet valid (iat)" in await refusal(verifier(), token(iat=NOW + 11))
    assert await verifier().verify(token(nbf=NOW + 9, iat=NOW + 9))
    assert "not yet valid" in await refusal(verifier(jwt_secret=SECRET, jwt_leeway_s=0.0), token(nbf=NOW + 1))


@pytest.mark.parametrize("claim", ["exp", "sub"])
@pytest.mark.parametrize("value", [..., None])
async def test_end_and_subject_are_required(claim: str, value: object) -> None:
    assert await refusal(verifier(), token(**{claim: value})) == f"The token lacks the claim {claim}."


@pytest.mark.parametrize("exp", [str(int(NOW) + 300), "never", True, [NOW + 300], {}])
async def test_an_end_that_is_no_number_is_refused(exp: object) -> None:
    assert "claim exp has to be a number" in await refusal(verifier(), token(exp=exp))


@pytest.mark.parametrize("exp", ["NaN", "Infinity", "1e400"])
async def test_an_end_that_is_no_finite_number_is_refused(exp: str) -> None:
    payload = b'{"sub": "user-1", "exp": %b}' % exp.encode()
    assert "claim exp" in await refusal(verifier(), forged({"alg": "HS256"}, payload, key=SECRET.encode()))


@pytest.mark.parametrize(
    "iss", ["https://evil.example", "https://issuer.example/", "", None, ["https://issuer.example"]]
)
async def test_another_issuer_is_refused(iss: object) -> None:
    by = verifier(jwt_secret=SECRET, jwt_issuer="https://issuer.example")
    payload = msgspec.json.encode(claims(iss=iss))
    message = await refusal(by, forged({"alg": "HS256"}, payload, key=SECRET.encode()))
    assert message == "The token is of another issuer (iss) than this gateway accepts."


async def test_the_issuer_is_required_where_one_is_set_and_free_where_none_is() -> None:
    by = verifier(jwt_secret=SECRET, jwt_issuer="https://issuer.example")
    assert await by.verify(token(iss="https://issuer.example"))
    assert await refusal(by, token()) == "The token lacks the claim iss."
    assert await verifier().verify(token(iss="anybody"))


@pytest.mark.parametrize("aud", ["other", "gatewa", "gateway2", ["other"], ["gateway", 5], {"gateway": 1}, 5, True])
async def test_another_audience_is_refused(aud: object) -> None:
    by = verifier(jwt_secret=SECRET, jwt_audience="gateway")
    assert "another audience (aud)" in await refusal(by, token(aud=aud))


async def test_the_audience_may_be_one_of_several() -> None:
    by = verifier(jwt_secret=SECRET, jwt_audience="gateway")
    assert await by.verify(token(aud="gateway"))
    assert await by.verify(token(aud=["other", "gateway"]))


@pytest.mark.parametrize("aud", [..., None, "", []])
async def test_an_audience_is_required_where_one_is_set(aud: object) -> None:
    by = verifier(jwt_secret=SECRET, jwt_audience="gateway")
    assert await refusal(by, token(aud=aud)) == "The token lacks the claim aud."


@pytest.mark.parametrize("aud", ["gateway", ["gateway"], 5])
async def test_a_token_for_somebody_is_refused_where_no_audience_is_set(aud: object) -> None:
    assert "another audience (aud)" in await refusal(verifier(), token(aud=aud))


async def test_a_message_never_says_what_the_token_says() -> None:
    by = verifier(jwt_secret=SECRET, jwt_issuer="right", jwt_audience="right")
    good = {"iss": "right", "aud": "right"}
    for change in (
        {"iss": "geheim"},
        {"aud": "geheim"},
        {"sub": "geheim\n"},
        {"tenant": "geheim!"},
        {"exp": "geheim"},
        {"limits": {"budget_day": "geheim"}},
        {"limits": "geheim"},
        {"jti": ["geheim"]},
    ):
        assert "geheim" not in await refusal(by, token(**{**good, **change}))


# Remembered tokens


async def test_a_verified_token_is_known_for_a_minute() -> None:
    clock = Clock()
    by, presented = verifier(now=clock), token()
    assert by.known(presented) is None
    caller = await by.verify(presented)
    clock.now_s += 59.9
    assert by.known(presented) is caller
    clock.now_s += 0.1
    assert by.known(presented) is None


async def test_a_verified_token_is_not_known_beyond_its_end() -> None:
    clock = Clock()
    by, presented = verifier(now=clock), token(exp=NOW + 5)
    await by.verify(presented)
    clock.now_s = NOW + 5
    assert by.known(presented) is None
    assert await by.verify(presented)  # within the leeway
    assert by.known(presented) is None


async def test_another_token_of_the_same_subject_is_not_known() -> None:
    by, presented = verifier(), token()
    await by.verify(presented)
    assert by.known(presented[:-1]) is None
    assert by.known(presented + b"=") is None


async def test_as_many_tokens_are_remembered_as_there_is_room_for() -> None:
    by = verifier()
    assert MAX_REMEMBERED == 10_000
    by._remembered = {b"%d" % number: (NOW + 60, None) for number in range(MAX_REMEMBERED)}  # type: ignore[misc]
    first, second = token(), token(sub="user-2")
    for presented in (first, second, first):
        await by.verify(presented)
    assert len(by._remembered) == MAX_REMEMBERED
    assert b"1" not in by._remembered
    assert b"2" in by._remembered
    assert by.known(first)
    assert by.known(second)


async def test_a_remembered_token_is_kept_as_its_hash() -> None:
    by, presented = verifier(), token()
    await by.verify(presented)
    assert list(by._remembered) == [hashlib.sha256(presented).digest()]


async def test_closing_is_possible_with_and_without_a_jwks() -> None:
    for by in (verifier(), with_jwks(jwk(rsa_key(), "r"))):
        await by.close()


# Garbage

BY_SECRET = verifier()
BY_JWKS = with_jwks(jwk(rsa_key(), "r"), jwk(ec_key(), "e"))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=8,
)
headers = st.fixed_dictionaries(
    {"alg": st.sampled_from(["HS256", "RS256", "ES256", "none"]) | json_values},
    optional={"kid": st.sampled_from(["r", "e"]) | json_values, "typ": json_values, "b64": json_values},
)
payloads = st.dictionaries(
    st.sampled_from(["sub", "exp", "nbf", "iat", "iss", "aud", "jti", "tenant", "scope", "limits"]), json_values
)


def segment(value: object) -> bytes:
    return base64url(json.dumps(value).encode())


async def is_nothing_but_refused(presented: bytes) -> None:
    for by in (BY_SECRET, BY_JWKS):
        await refusal(by, presented)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
@example(b"")
@example(b"..")
@example(b"eyJ..")
@example(b"." * 8000)
@example(base64url(b"[" * 5000) + b".e30.x")
@example(base64url(b'{"alg":"HS256","x":' + b"9" * 5000 + b"}") + b".e30.x")
async def test_garbage_is_refused(presented: bytes) -> None:
    await is_nothing_but_refused(presented)


@given(headers, payloads, st.binary(max_size=300))
async def test_garbage_in_the_shape_of_a_token_is_refused(
    header: dict[str, object], payload: dict[str, object], signature: bytes
) -> None:
    await is_nothing_but_refused(b".".join((segment(header), segment(payload), base64url(signature))))


@given(payloads)
async def test_a_signed_token_with_any_claims_is_let_in_or_refused(payload: dict[str, object]) -> None:
    presented = forged({"alg": "HS256"}, json.dumps(payload).encode(), key=SECRET.encode())
    try:
        caller = await BY_SECRET.verify(presented)
    except Unauthenticated:
        return
    assert caller.source == "jwt"


@given(st.binary(max_size=300))
@example(b"[" * 3000)
@example(b'{"sub":"a","exp":1900000000,"limits":' + b'{"a":' * 500 + b"1" + b"}" * 501)
async def test_a_signed_token_of_garbage_is_refused(payload: bytes) -> None:
    await refusal(BY_SECRET, forged({"alg": "HS256"}, payload, key=SECRET.encode()))


@given(st.integers(min_value=0), st.binary(min_size=1, max_size=3))
async def test_a_token_with_other_bytes_anywhere_is_refused(at: int, other: bytes) -> None:
    good = token()
    at %= len(good)
    changed = good[:at] + other + good[at + len(other) :]
    if changed.rstrip(b"=") != good:  # padding at the end is no change
        await refusal(BY_SECRET, changed)


def test_a_private_key_is_not_what_a_verifier_is_made_of(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(private_pem(rsa_key()))
    with pytest.raises(ValueError, match="private key"):
        verifier(jwt_public_key=str(path))

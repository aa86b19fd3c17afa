"""Settings of JWT bearers that make no sense are refused at the start, with the name of the variable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from app.config import Config, SettingError
from app.identity import check_jwt, open_jwt
from tests.support.tokens import SECRET, ec_key, private_pem, public_pem, rsa_key

URL = "https://issuer.example/jwks.json"


@pytest.fixture
def pem(tmp_path: Path):
    def write(content: bytes) -> str:
        path = tmp_path / "key.pem"
        path.write_bytes(content)
        return str(path)

    return write


def refused(**settings: object) -> str:
    with pytest.raises(SettingError) as raised:
        check_jwt(Config(**settings))
    return str(raised.value)


def test_what_is_refused_at_the_start_cannot_be_opened() -> None:
    with pytest.raises(SettingError, match="CLAUDE_WRAPPER_JWT_SECRET"):
        open_jwt(Config(jwt_secret="short"))


def test_without_settings_nothing_is_checked_and_nothing_opened() -> None:
    check_jwt(Config())
    assert open_jwt(Config()) is None
    assert not Config().accepts_jwt


def test_without_settings_no_cryptography_is_imported() -> None:
    code = (
        "import sys; from app.config import Config; from app.identity import check_jwt, open_jwt;"
        "check_jwt(Config()); open_jwt(Config());"
        "assert not {'jwt', 'cryptography', 'aiohttp'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize("key", [rsa_key(), ec_key()], ids=["rsa", "ec"])
def test_public_keys_of_both_kinds_are_taken(pem, key) -> None:
    check_jwt(Config(jwt_public_key=pem(public_pem(key))))


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "http://127.0.0.1:8080/jwks",
        "http://127.9.9.9/jwks",
        "http://localhost/jwks",
        "http://[::1]:1/jwks",
        "https://10.0.0.1/",
    ],
)
def test_https_is_taken_and_http_on_this_machine(url: str) -> None:
    check_jwt(Config(jwt_jwks_url=url))


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/jwks",
        "http://127.0.0.1.issuer.example/jwks",
        "http://localhost.issuer.example/",
        "http://10.0.0.1/jwks",
        "ftp://issuer.example/jwks",
        "file:///etc/passwd",
        "issuer.example/jwks",
        "https:///jwks",
        "https://user:geheim@issuer.example/jwks",
        "https://issuer.example:port/",
        "https://[::1/",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    message = refused(jwt_jwks_url=url)
    assert message.startswith("CLAUDE_WRAPPER_JWT_JWKS_URL: ")
    assert "geheim" not in message


@pytest.mark.parametrize("secret", ["short", "x" * 31])
def test_a_short_secret_is_refused(secret: str) -> None:
    message = refused(jwt_secret=secret)
    assert message.startswith("CLAUDE_WRAPPER_JWT_SECRET: takes a secret of at least 32 bytes")
    assert secret not in message


def test_a_public_key_is_no_secret() -> None:
    message = refused(jwt_secret=public_pem(rsa_key()).decode())
    assert message.startswith("CLAUDE_WRAPPER_JWT_SECRET: takes a secret, not a public key")


def test_a_secret_counts_in_bytes() -> None:
    check_jwt(Config(jwt_secret="ü" * 16))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no public key"),
        (b"\xff\x00nonsense", "holds no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "holds no public key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds a certificate"),
        (private_pem(rsa_key()), "private key"),
        (private_pem(ec_key()), "private key"),
        (public_pem(ec_key()) + private_pem(ec_key()), "private key"),
        (public_pem(ec_key("other", ec.SECP384R1)), "fits neither"),
        (public_pem(ed25519.Ed25519PrivateKey.generate()), "fits neither"),
        (public_pem(rsa_key("small", 1024)), "less than 2048 bits"),
    ],
)
def test_any_other_key_file_is_refused(pem, content: bytes, words: str) -> None:
    message = refused(jwt_public_key=pem(content))
    assert message.startswith("CLAUDE_WRAPPER_JWT_PUBLIC_KEY: ")
    assert words in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "'/nowhere.pem' cannot be read" in refused(jwt_public_key="/nowhere.pem")
    assert "cannot be read" in refused(jwt_public_key=str(tmp_path))


def test_a_public_key_and_a_jwks_are_one_too_many(pem) -> None:
    assert "set one of them" in refused(jwt_public_key=pem(public_pem(rsa_key())), jwt_jwks_url=URL)


def test_an_algorithm_needs_a_key_that_can_have_it(pem) -> None:
    rsa, curve = pem(public_pem(rsa_key())), ("RS256", "ES256")
    assert "no configured key is for RS256" in refused(jwt_secret=SECRET, jwt_algorithms=("HS256", "RS256"))
    assert "no configured key is for HS256" in refused(jwt_jwks_url=URL, jwt_algorithms=("HS256",))
    assert "no configured key is for ES256" in refused(jwt_public_key=rsa, jwt_algorithms=curve)


def test_a_key_needs_an_algorithm_that_is_accepted(pem) -> None:
    both = {"jwt_secret": SECRET, "jwt_jwks_url": URL}
    assert refused(**both, jwt_algorithms=("RS256",)).startswith("CLAUDE_WRAPPER_JWT_SECRET: is for HS256")
    assert refused(**both, jwt_algorithms=("HS256",)).startswith("CLAUDE_WRAPPER_JWT_JWKS_URL: is for RS256 or ES256")
    check_jwt(Config(**both, jwt_algorithms=("HS256", "ES256")))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("jwt_issuer", "me"),
        ("jwt_audience", "us"),
        ("jwt_algorithms", ("HS256",)),
        ("jwt_leeway_s", 99.0),
        ("jwt_tenant_claim", "org"),
        ("jwt_scope_claim", "permissions"),
        ("jwt_limits_claim", "quota"),
    ],
)
def test_a_rule_without_a_key_does_nothing_and_is_refused(field: str, value: object) -> None:
    assert refused(**{field: value}).startswith(f"CLAUDE_WRAPPER_{field.upper()}: does nothing without a key")

"""The gateway's own key: how it may come, how it is compared, what a refusal says."""

from __future__ import annotations

import pytest

from app.api.auth import authenticate, digest, is_open
from app.errors import Unauthenticated

KEY = "gateway-key-for-tests"


def headers(**values: str) -> dict[bytes, bytes]:
    return {name.replace("_", "-").encode(): value.encode() for name, value in values.items()}


@pytest.mark.parametrize(
    "sent",
    [
        headers(authorization=f"Bearer {KEY}"),
        headers(authorization=f"bearer   {KEY} "),
        headers(x_api_key=KEY),
        headers(authorization="Bearer sk-of-the-provider", x_api_key=KEY),
        headers(authorization=f"Bearer {KEY}", x_api_key="sk-of-the-provider"),
    ],
)
def test_the_key_is_accepted_from_either_header(sent: dict[bytes, bytes]) -> None:
    assert authenticate(sent, digest(KEY)).authenticated


@pytest.mark.parametrize(
    "sent",
    [
        {},
        headers(authorization=""),
        headers(authorization="Bearer "),
        headers(authorization=f"Basic {KEY}"),
        headers(x_api_key=" "),
    ],
)
def test_a_missing_key_is_said_to_be_missing(sent: dict[bytes, bytes]) -> None:
    with pytest.raises(Unauthenticated, match="You didn't provide an API key"):
        authenticate(sent, digest(KEY))


@pytest.mark.parametrize("wrong", ["other", KEY + "x", KEY[:-1], KEY.upper(), "é"])
def test_a_wrong_key_is_refused_and_never_repeated(wrong: str) -> None:
    with pytest.raises(Unauthenticated, match="Incorrect API key") as refusal:
        authenticate(headers(authorization=f"Bearer {wrong}"), digest(KEY))
    assert wrong not in refusal.value.message.split()
    assert KEY not in refusal.value.message


def test_without_a_configured_key_everybody_is_anonymous() -> None:
    assert digest("") is None
    assert authenticate({}, None).tenant == "anonymous"


@pytest.mark.parametrize("path", ["/health", "/health/", "//health//live", "/docs", "/docs/", "/docs/swagger-ui.css"])
def test_open_paths_are_open_however_routing_accepts_them(path: str) -> None:
    assert is_open(path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/health/detailed",
        "/v1/models",
        "/v1/auth/status/x",
        "/v1/auth",
        "/HEALTH",
        "/healthx",
        "/x/docs/",
        "/openapi.json/x",
    ],
)
def test_everything_else_needs_the_key(path: str) -> None:
    assert not is_open(path)

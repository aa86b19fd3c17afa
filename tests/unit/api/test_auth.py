"""How keys are sent, which paths need none, who may do what, and what the status of protection tells."""

from __future__ import annotations

from typing import Any

import pytest

from app.api.auth import is_open, presented, presented_keys, require_scope
from app.api.middleware import GatewayApp
from app.api.routes import create_litestar
from app.config import Config
from app.domain.auth import ANONYMOUS, Caller, key_text
from app.errors import PermissionDenied, Unauthenticated
from tests.support.asgi import call, http_scope
from tests.support.services import StateAway, make_services

KEY = "gateway-key-for-tests"


def headers(**values: str) -> dict[bytes, bytes]:
    return {name.replace("_", "-").encode(): value.encode() for name, value in values.items()}


# How a key is sent


@pytest.mark.parametrize(
    "sent",
    [
        headers(authorization=f"Bearer {KEY}"),
        headers(authorization=f"bearer   {KEY} "),
        headers(authorization=f"BEARER {KEY}"),
        headers(x_api_key=KEY),
        headers(x_api_key=f" {KEY} "),
        headers(authorization=f"Basic {KEY}", x_api_key=KEY),
    ],
)
def test_a_key_is_read_from_either_header(sent: dict[bytes, bytes]) -> None:
    assert presented_keys(sent) == [KEY.encode()]


def test_both_headers_count_the_bearer_first() -> None:
    sent = headers(authorization="Bearer sk-of-the-provider", x_api_key=KEY)
    assert presented_keys(sent) == [b"sk-of-the-provider", KEY.encode()]


@pytest.mark.parametrize(
    "sent",
    [
        {},
        headers(authorization=""),
        headers(authorization="Bearer"),
        headers(authorization="Bearer "),
        headers(authorization=f"Basic {KEY}"),
        headers(authorization=KEY),
        headers(x_api_key=" "),
    ],
)
def test_nothing_else_is_a_key(sent: dict[bytes, bytes]) -> None:
    assert presented_keys(sent) == []


@pytest.mark.parametrize(
    ("trusted", "group"),
    [((), "127.0.0.1"), (("127.0.0.1",), "203.0.113.7")],
)
def test_wrong_keys_are_counted_for_the_client_behind_trusted_proxies(trusted: tuple[str, ...], group: str) -> None:
    gate = make_services(config=Config(trusted_proxies=trusted)).gate
    scope: Any = http_scope("GET", "/", {"x-forwarded-for": "203.0.113.7"})
    assert presented(scope, {}, gate).group() == group


def test_a_peer_without_an_address_is_somebody_too() -> None:
    scope: Any = {**http_scope("GET", "/"), "client": None}
    assert presented(scope, {}, make_services().gate).group()


# Which paths need none


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


# Who may do what


class _Asked:
    """As much of a request as ``require_scope`` looks at."""

    def __init__(self, caller: Caller) -> None:
        self.scope = {"state": {"caller": caller}}


def test_a_caller_with_the_scope_may() -> None:
    caller = Caller(tag="a", authenticated=True, scopes=("admin",))
    assert require_scope(_Asked(caller), "admin") is caller  # type: ignore[arg-type]


def test_a_caller_without_the_scope_is_told_which_one() -> None:
    with pytest.raises(PermissionDenied, match="does not have the scope 'admin'"):
        require_scope(_Asked(Caller(tag="a", authenticated=True)), "admin")  # type: ignore[arg-type]


def test_nobody_in_particular_is_no_operator() -> None:
    with pytest.raises(Unauthenticated, match="CLAUDE_WRAPPER_ADMIN_KEY"):
        require_scope(_Asked(ANONYMOUS), "admin")  # type: ignore[arg-type]


def test_nobody_in_particular_may_do_what_needs_no_operator() -> None:
    assert require_scope(_Asked(ANONYMOUS), "inference") is ANONYMOUS  # type: ignore[arg-type]


# /v1/auth/status


class Gateway:
    def __init__(self, state: Any = None, **settings: Any) -> None:
        self.services = make_services(config=Config(**settings), state=state)
        self.app = GatewayApp(create_litestar(self.services), self.services)

    async def status(self, key: str | None) -> Any:
        sent = {} if key is None else {"authorization": f"Bearer {key}"}
        return (await call(self.app, "GET", "/v1/auth/status", headers=sent)).json()

    async def models(self, key: str) -> int:
        """The status of another route, once the wrong keys so far are counted."""
        await self.services.gate.close()
        return (await call(self.app, "GET", "/v1/models", headers={"x-api-key": key})).status


@pytest.mark.parametrize(("key", "accepted"), [(None, False), ("wrong", False), (KEY, True)])
async def test_the_status_tells_whether_the_key_is_accepted(key: str | None, accepted: bool) -> None:
    assert await Gateway(api_key=KEY).status(key) == {
        "protected": True,
        "authenticated": accepted,
        "methods": ["authorization: bearer", "x-api-key"],
    }


@pytest.mark.parametrize("key", [None, "anything"])
async def test_without_protection_everybody_is_let_in(key: str | None) -> None:
    assert await Gateway().status(key) == {"protected": False, "authenticated": True, "methods": []}


STORED = key_text("acme", "k7Qm2ZpXv9Rt", "4fJc8LwYb1NsG6hTq0DkPe3VuXa5MiRz")


async def test_of_a_key_that_cannot_be_checked_nothing_is_said() -> None:
    reply = await Gateway(StateAway(), api_key=KEY).status(STORED)
    assert reply["error"]["code"] == "state_unavailable"


async def test_keys_cannot_be_guessed_by_asking_for_the_status() -> None:
    gateway = Gateway(api_key=KEY, guesses_per_minute=2)
    for guess in ("one", "two", "three"):
        await gateway.status(guess)
    assert await gateway.models("four") == 429


async def test_asking_for_the_status_without_a_key_is_no_guess() -> None:
    gateway = Gateway(api_key=KEY, guesses_per_minute=1)
    for _ in range(3):
        await gateway.status(None)
    assert await gateway.models("wrong") == 401

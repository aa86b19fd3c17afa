"""The documentation page works without any internet and serves only its own files."""

from __future__ import annotations

import re

import pytest

from app.api.docs import ASSETS
from app.api.middleware import GatewayApp
from app.api.routes import create_litestar
from app.config import Config
from tests.support.asgi import Reply, call
from tests.support.services import make_services

SERVICES = make_services(config=Config(api_key="gateway-key-for-tests"))
GATEWAY = GatewayApp(create_litestar(SERVICES), SERVICES)


async def get(path: str) -> Reply:
    return await call(GATEWAY, "GET", path)


async def test_the_page_names_nothing_outside_this_server() -> None:
    page = await get("/docs")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    addresses = re.findall(rb'(?:src|href)="([^"]*)"', page.body)
    assert addresses
    assert all(address.startswith(b"/") and not address.startswith(b"//") for address in addresses)


async def test_every_file_that_the_page_names_is_served_without_a_key() -> None:
    page = await get("/docs")
    for address in re.findall(rb'(?:src|href)="([^"]*)"', page.body):
        assert (await get(address.decode())).status == 200


async def test_the_browser_is_told_to_load_nothing_else() -> None:
    policy = (await get("/docs")).headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "connect-src 'self'"} <= set(policy)
    assert {"frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} <= set(policy)
    assert not any("http" in directive or "unsafe-eval" in directive for directive in policy)


@pytest.mark.parametrize("path", ["/docs", "/docs/initializer.js", "/docs/swagger-ui.css"])
async def test_page_and_files_are_what_they_say_and_tell_nobody_where_one_comes_from(path: str) -> None:
    headers = (await get(path)).headers
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


async def test_the_page_shows_the_document() -> None:
    assert b'url: "/openapi.json"' in (await get("/docs/initializer.js")).body


@pytest.mark.parametrize(("file", "media_type"), ASSETS.items())
async def test_files_have_their_type(file: str, media_type: str) -> None:
    reply = await get(f"/docs/{file}")
    assert reply.headers["content-type"].split(";")[0] == media_type
    assert len(reply.body) > 100


@pytest.mark.parametrize("path", ["/docs/index.html", "/docs/..", "/docs/../../__init__.py", "/docs/x/swagger-ui.css"])
async def test_no_other_file_is_served(path: str) -> None:
    assert (await get(path)).status == 404

"""Secrets and prompts, sent in every way there is: found in no log, metric, page, and in no error of the gateway.

Each has a word of its own. What a client itself may call things by is no prompt, and stands in the log cut and
redacted: paths, ids of requests, names of models; of those only secrets are looked for.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import quote

import jwt
import pytest

from app.config import Config
from app.observability.log import configure
from tests.support.chat_wire import Reply, until
from tests.support.fake_upstream import event
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.messages_peer import HEAD, answer, begin_stream, end_stream, error_body
from tests.support.outage_gateway import services_of
from tests.support.raw_upstream import Peer, raw_upstream
from tests.support.redis import RedisServers

#: Of the operator. None looks like a key, so that each is found by being known.
SECRETS = {
    "api_key": "hidden-static-2f9c",
    "admin_key": "hidden-admin-2f9c",
    "anthropic_api_key": "sk-ant-hidden-upstream-2f9c",
    "jwt_secret": "hidden-jwt-secret-2f9c-0123456789abcdef",
    "alert_webhook_secret": "hidden-webhook-2f9c",
    "secret": "hidden-salt-2f9c",
}
REDIS_PASSWORD = "hidden-redis-2f9c"

#: Of clients: right ones, wrong ones, and such as got into the wrong place.
TOKEN = jwt.encode({"sub": "canary", "tenant": "acme", "exp": 4e9}, SECRETS["jwt_secret"], algorithm="HS256")
FOREIGN_TOKEN = jwt.encode({"sub": "canary"}, "of somebody else, and long enough", algorithm="HS256")
STRAY_KEY = "sk-ant-hidden-stray-2f9c"

#: One word for each place in a request.
PROMPTS = {
    name: f"PROMPT{name}7f3a"
    for name in (
        *("User", "System", "Assistant", "Argument", "Result", "Description", "Schema", "Metadata", "Stop", "EndUser"),
        *("Query", "Header", "Broken", "Name", "Upstream"),
    )
}
FORBIDDEN = (*SECRETS.values(), REDIS_PASSWORD, TOKEN, FOREIGN_TOKEN, STRAY_KEY, *PROMPTS.values())


def body(**changes: Any) -> bytes:
    """A chat completion with a canary wherever a client writes freely."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "look", "arguments": json.dumps({"where": PROMPTS["Argument"]})},
    }
    parameters = {"type": "object", "properties": {"where": {"type": "string", "description": PROMPTS["Schema"]}}}
    request = {
        "model": "claude-opus-5-5",
        "messages": [
            {"role": "system", "content": PROMPTS["System"]},
            {"role": "user", "content": PROMPTS["User"]},
            {"role": "assistant", "content": PROMPTS["Assistant"], "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": PROMPTS["Result"]},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "look", "description": PROMPTS["Description"], "parameters": parameters},
            }
        ],
        "metadata": {"note": PROMPTS["Metadata"]},
        "stop": [PROMPTS["Stop"]],
        "user": PROMPTS["EndUser"],
    }
    return json.dumps({**request, **changes}).encode()


#: Where workers hand over what ``GET /logs`` shows.
REQUESTS = "cw:{_}:requests:v1"

#: What is wrong with it, field by field: each with a canary where the mistake is.
BROKEN = PROMPTS["Broken"]
MISTAKES: tuple[dict[str, Any], ...] = (
    {"messages": BROKEN},
    {"messages": [BROKEN]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": BROKEN}}]}]},
    {"messages": [{"role": "user", "content": {"text": BROKEN}}]},
    {"messages": [{"role": "tool", "tool_call_id": BROKEN, "content": "x"}]},
    {"temperature": BROKEN},
    {"max_tokens": BROKEN},
    {"n": BROKEN},
    {"stop": [BROKEN] * 9},
    {"stop": {"word": BROKEN}},
    {"metadata": {"note": {"deep": BROKEN}}},
    {"tools": [{"type": "function", "function": {"name": "look", "parameters": BROKEN}}]},
    {"tools": BROKEN},
    {"stream_options": BROKEN},
    {"user": {"name": BROKEN}},
)


#: Names of things that there are not: an error quotes those, as OpenAI's do, and the log does not.
NAME = PROMPTS["Name"]
MISNAMED: tuple[dict[str, Any], ...] = (
    {"messages": [{"role": NAME, "content": "x"}]},
    {"messages": [{"role": "user", "content": [{"type": NAME, "text": "x"}]}]},
    {"tool_choice": {"type": "function", "function": {"name": NAME}}},
    {"response_format": {"type": NAME}},
)


async def upstream_script(peer: Peer) -> None:
    """Answers with a canary, or with an error that quotes the prompt; by the name of the model."""
    while True:
        request = await peer.request()
        asked = json.loads(request.body)
        match asked["max_tokens"]:
            case 400 | 500 | 529 as status:
                peer.reply(status, error_body("invalid_request_error", f"no: {PROMPTS['Upstream']}"))
            case 600:
                begin_stream(peer, HEAD)
                peer.chunk(event("error", error={"type": "api_error", "message": PROMPTS["Upstream"]}))
                end_stream(peer)
            case 601:
                begin_stream(peer, HEAD + event("content_block_delta", index=PROMPTS["Upstream"]))
                end_stream(peer)
            case 602:
                peer.reply(200, f'{{"type": "{PROMPTS["Upstream"]}'.encode(), content_type="application/json")
            case _:
                answer(peer, request)


class Site:
    """A gateway, and everything that has come out of it."""

    def __init__(self, gateway: GatewayHere, log: io.StringIO) -> None:
        self.gateway = gateway
        self.log = log
        self.errors: list[bytes] = []

    async def ask(
        self, data: bytes | None, *, path: str = "/v1/chat/completions", key: str = "", **extra: str
    ) -> Reply:
        """One request; its reply is looked at when it is the gateway's own error."""
        method = "GET" if data is None else "POST"
        headers = {"host": "gateway", "authorization": f"Bearer {key or SECRETS['api_key']}", **extra}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        sent = data or b""
        wire = await self.gateway.wire()
        wire.send(f"{head}content-length: {len(sent)}\r\n\r\n".encode() + sent)
        reply = await wire.reply()
        wire.close()
        return reply

    async def refused(self, data: bytes | None, **request: Any) -> Reply:
        """One request that is wrong, and the error of the gateway about it."""
        reply = await self.ask(data, **request)
        assert reply.status >= 400, (data, request)
        self.errors.append(reply.body)
        return reply


@asynccontextmanager
async def site(format_: Literal["json", "text"], **settings: Any) -> AsyncIterator[Site]:
    """A protected gateway that is being debugged."""
    stream = io.StringIO()
    config = Config(**SECRETS)
    configure(format=format_, level=logging.DEBUG, stream=stream, secrets=config.secrets)
    async with (
        raw_upstream(upstream_script) as upstream,
        gateway_here(upstream.base_url, debug=True, log_format=format_, **{**SECRETS, **settings}) as gateway,
    ):
        yield Site(gateway, stream)


async def ask_everything(site: Site) -> None:
    """Good requests and bad ones."""
    for stream in (False, True):
        for key in ("", TOKEN):
            assert (await site.ask(body(stream=stream), key=key)).status == 200
        for max_tokens in (400, 500, 529):
            assert (await site.ask(body(stream=stream, max_tokens=max_tokens))).status >= 400
    for max_tokens in (600, 601):
        await site.ask(body(stream=True, max_tokens=max_tokens))
    assert (await site.ask(body(max_tokens=602))).status == 502
    for mistake in MISTAKES + MISNAMED:
        await site.refused(body(**mistake))
    await site.refused(f'{{"model": "{BROKEN}'.encode())
    await site.refused(BROKEN.encode())
    for key in (STRAY_KEY, FOREIGN_TOKEN, TOKEN + "x", "sk-cw-" + STRAY_KEY):
        await site.refused(body(), key=key)
    await site.refused(body(), path=f"/v1/none?prompt={quote(PROMPTS['Query'])}&key={STRAY_KEY}")
    for name in ("x-session-id", "x-claude-wrapper-session-wait", "cache-control", "x-claude-max-thinking-tokens"):
        await site.ask(body(), **{name: f"max-age={PROMPTS['Header']} {PROMPTS['Header']}"})
    await site.ask(body(), **{"user-agent": PROMPTS["Header"], "x-stray": STRAY_KEY})
    await site.ask(body(), **{"x-request-id": STRAY_KEY})
    await site.ask(body(model=STRAY_KEY))
    await site.ask(None, path=f"/v1/models/{STRAY_KEY}")
    await site.ask(None, path=f"/{SECRETS['api_key']}/v1/models")
    await site.refused(
        json.dumps({"tenant": "acme", "name": [BROKEN]}).encode(), path="/admin/keys", key=SECRETS["admin_key"]
    )
    await site.refused(None, path=f"/logs?since={PROMPTS['Query']}", key=SECRETS["admin_key"])


async def pages(site: Site) -> dict[str, bytes]:
    """What an operator can look at."""
    found = {}
    for path in ("/metrics", "/logs?limit=500", "/dashboard/data", "/health/detailed", "/admin/audit", "/openapi.json"):
        reply = await site.ask(None, path=path, key=SECRETS["admin_key"])
        assert reply.status == 200, path
        found[path] = reply.body
    return found


def forbidden_in(text: str) -> list[str]:
    """The canaries that stand in a text."""
    return [word for word in FORBIDDEN if word in text]


@pytest.mark.parametrize("format_", ["json", "text"])
async def test_what_was_sent_is_found_nowhere(redis_servers: RedisServers, format_: Literal["json", "text"]) -> None:
    server = redis_servers("--requirepass", REDIS_PASSWORD)
    url = server.url.replace("://", f"://:{REDIS_PASSWORD}@", 1)
    async with site(format_, redis_url=url) as here:
        await ask_everything(here)
        kept = services_of(here.gateway).request_log.latest()
        await until(lambda: server.ask("XLEN", REQUESTS, password=REDIS_PASSWORD))
        for path, page in (await pages(here)).items():
            assert not forbidden_in(page.decode()), path
        for error in here.errors:
            assert set(forbidden_in(error.decode())) <= {NAME}, error
    log = here.log.getvalue()
    assert not forbidden_in(log)
    assert len(kept) > 40
    assert not forbidden_in(b"".join(kept).decode())
    assert "***" in log, "nothing was masked: were the canaries sent?"


async def test_bodies_are_logged_without_secrets_where_that_is_asked_for() -> None:
    async with site("json", redis_url="memory://", log_bodies=True) as here:
        await here.ask(body(user=STRAY_KEY))
    log = here.log.getvalue()
    assert PROMPTS["User"] in log
    assert not [word for word in (*SECRETS.values(), STRAY_KEY) if word in log]


async def test_without_that_setting_the_words_are_not_even_in_the_memory_of_the_log() -> None:
    async with site("json", redis_url="memory://") as here:
        await here.ask(body())
        known = str(services_of(here.gateway).request_log._known)
    assert not re.search("PROMPT|hidden", known)

from __future__ import annotations

from unittest.mock import sentinel

import httpx2
from msgspec.structs import replace

from app.domain.upstream import UpstreamRequest
from app.upstream.sdk_client import SdkClient
from app.upstream.sdk_transport import OpenReply

CALL = UpstreamRequest(path="/v1/messages", body=b"{}", headers={"anthropic-version": "2026-10-21"})


class Recorder(httpx2.AsyncBaseTransport):
    """Answers every request, and keeps what it was told by."""

    def __init__(self) -> None:
        self.authorization: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.authorization.append(request.headers["authorization"])
        reply = OpenReply(200, request=request)
        reply.reply = sentinel.reply
        return reply


async def test_a_credential_of_a_call_is_remembered_nowhere() -> None:
    wire = Recorder()
    client = SdkClient("http://anthropic.example", "sk-gateway", "", wire)
    for number in range(200):
        await client.call(replace(CALL, credential=f"sk-ant-{number}", path=f"/v1/{number % 3}"))
    await client.call(CALL)
    assert wire.authorization == [*(f"Bearer sk-ant-{number}" for number in range(200)), "Bearer sk-gateway"]
    assert len(client._options) == len(client._requests) == 4
    kept = [
        *client._options,
        *client._requests,
        *(options.headers for options in client._options.values()),
        *(request.headers.multi_items() for request in client._requests.values()),
    ]
    assert "sk-ant" not in repr(kept)


async def test_a_client_without_a_credential_looks_for_none(monkeypatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-environment")
    wire = Recorder()
    client = SdkClient("http://anthropic.example", "", "", wire)
    await client.call(replace(CALL, credential="sk-ant-1"))
    assert wire.authorization == ["Bearer sk-ant-1"]
    assert client.api_key is None


async def test_a_trace_makes_no_kind_of_call() -> None:
    client = SdkClient("http://anthropic.example", "sk-gateway", "", Recorder())
    for number in range(200):
        await client.call(replace(CALL, trace={"traceparent": f"00-{number:032x}-{number:016x}-01"}))
    assert len(client._options) == len(client._requests) == 1
    assert "traceparent" not in repr([request.headers for request in client._requests.values()])

"""What the direct lane sends, held to what the SDK would send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from app.domain.upstream import UpstreamRequest
from app.upstream.direct import DirectClient
from app.upstream.route import Route
from app.upstream.sdk_client import SdkClient
from app.upstream.sdk_transport import SdkTransport

VERSION = {"anthropic-version": "2026-10-21"}
BETAS = VERSION | {"anthropic-beta": "one-2026-01-01,two-2026-02-02"}


class Recorder:
    """Connections that lead nowhere; keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, str], bytes]] = []

    async def exchange(self, method: str, url: str, headers: Any, body: bytes) -> Any:
        """Without what is the library's own: its name, and the connection that aiohttp makes up itself."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        kept = {name.lower(): value for name, value in pairs if name.lower() not in ("user-agent", "connection")}
        self.sent.append((method, url, kept, body))
        return Reply()


class Reply:
    """As much of aiohttp's as the SDK looks at."""

    status = 200


@pytest.mark.parametrize(
    ("url", "key", "token"),
    [
        ("https://api.anthropic.com", "sk-ant-gateway", ""),
        ("https://api.anthropic.com", "sk-ant-gateway", "token"),
        ("http://proxy.example:8080/behind/a/path", "", "token"),
        ("http://proxy.example", "", ""),
    ],
)
@pytest.mark.parametrize(
    "request_",
    [
        UpstreamRequest(path="/v1/messages", body=b'{"model":"claude"}', headers=VERSION, credential="sk-ant-client"),
        UpstreamRequest(path="/v1/messages", body='{"text":"größer"}'.encode(), headers=BETAS, stream=True),
        UpstreamRequest(path="/v1/messages/count_tokens", body=b"{}", headers=BETAS),
        UpstreamRequest(path="/v1/models?limit=3&after_id=a%20b", body=b"", method="GET", headers=VERSION),
    ],
    ids=lambda request: f"{request.method} {request.path}",
)
async def test_it_sends_what_the_sdk_sends(url: str, key: str, token: str, request_: UpstreamRequest) -> None:
    if not (key or token or request_.credential):
        request_ = replace(request_, credential="sk-ant-client")  # the lane refuses the others
    wire: Any = Recorder()
    route = Route(url=url, proxy=None, tls=None, key=key, token=token)
    await DirectClient(route, wire).call(request_)
    await SdkClient(url, key, token, SdkTransport(wire)).call(request_)
    ours, theirs = wire.sent
    assert ours == theirs


async def test_a_credential_of_a_call_is_sent_with_that_call_alone() -> None:
    wire: Any = Recorder()
    client = DirectClient(Route(url="http://a", proxy=None, tls=None, key="sk-gateway", token=""), wire)
    for credential in ("sk-ant-client", ""):
        await client.call(UpstreamRequest(path="/v1/messages", body=b"{}", headers=VERSION, credential=credential))
    assert [headers["authorization"] for _, _, headers, _ in wire.sent] == ["Bearer sk-ant-client", "Bearer sk-gateway"]

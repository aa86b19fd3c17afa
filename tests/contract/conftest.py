"""One gateway with ``--mock`` for all contract tests, and the official clients that talk to it.

Every test asks in words of its own (``topic``), so that it finds its calls in the journal of the simulator among those
of the others. What a reply is to be like stands in the prompt, as a marker of the simulator: ``[[sim: status=529]]``.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.support.mock_gateway import MockGateway, mock_gateway

#: A key that is sent to the gateway must never be needed upstream, nor seen there.
CLIENT_KEY = "sk-of-the-client"


@pytest.fixture(scope="session")
def gateway() -> Iterator[MockGateway]:
    with mock_gateway() as gateway:
        yield gateway


@pytest.fixture
def topic() -> str:
    """A word that no other request has."""
    return f"topic-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client(gateway: MockGateway) -> Iterator[OpenAI]:
    """The official client; without retries of its own, so that each test sees each error."""
    with OpenAI(base_url=gateway.url, api_key=CLIENT_KEY, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
async def async_client(gateway: MockGateway) -> AsyncIterator[AsyncOpenAI]:
    """The official client for asyncio, likewise."""
    async with AsyncOpenAI(base_url=gateway.url, api_key=CLIENT_KEY, max_retries=0, timeout=30) as client:
        yield client

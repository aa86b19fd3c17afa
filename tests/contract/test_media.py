"""Images and documents with the official client."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL


def png(width: int = 2, height: int = 2) -> bytes:
    """A red picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xff\0\0" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PNG = base64.b64encode(png()).decode()
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n").decode()


def with_part(topic: str, part: dict[str, Any]) -> Any:
    return [{"role": "user", "content": [{"type": "text", "text": f"What is this, {topic}?"}, part]}]


def blocks_upstream(gateway: MockGateway, topic: str) -> list[dict[str, Any]]:
    (call,) = gateway.upstream_calls(topic)
    blocks: list[dict[str, Any]] = call["body"]["messages"][0]["content"]
    return blocks


def test_an_image_goes_upstream_as_it_is(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "high"}}
    completion = client.chat.completions.create(model=MODEL, messages=with_part(topic, image))

    assert topic in (completion.choices[0].message.content or "")
    assert blocks_upstream(gateway, topic)[1]["source"] == {"type": "base64", "media_type": "image/png", "data": PNG}


def test_an_image_by_address_is_left_to_anthropic_to_fetch(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    address = "https://example.com/picture.png"
    client.chat.completions.create(
        model=MODEL, messages=with_part(topic, {"type": "image_url", "image_url": {"url": address}})
    )

    assert blocks_upstream(gateway, topic)[1]["source"] == {"type": "url", "url": address}


def test_a_pdf_goes_upstream_as_a_document_with_its_name(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    file = {"type": "file", "file": {"filename": "report.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}
    completion = client.chat.completions.create(model=MODEL, messages=with_part(topic, file))

    block = blocks_upstream(gateway, topic)[1]
    assert completion.choices[0].finish_reason == "stop"
    assert block["type"] == "document"
    assert block["title"] == "report.pdf"
    assert block["source"] == {"type": "base64", "media_type": "application/pdf", "data": PDF}


def test_a_text_file_goes_upstream_as_text(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    data = base64.b64encode("Zeile eins\nZeile zwei — ü\n".encode()).decode()
    file = {"type": "file", "file": {"filename": "notes.txt", "file_data": f"data:text/plain;base64,{data}"}}
    client.chat.completions.create(model=MODEL, messages=with_part(topic, file))

    assert blocks_upstream(gateway, topic)[1]["source"]["data"] == "Zeile eins\nZeile zwei — ü\n"


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/tiff;base64,{PNG}"}}, "invalid_image_format"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}, None),
        ({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}, "unsupported_value"),
    ],
    ids=["tiff", "bad base64", "audio"],
)
def test_what_claude_cannot_take_is_refused_with_its_place(client: OpenAI, part: Any, code: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=with_part("Hi", part))

    assert str(caught.value.param).startswith("messages[0].content[1]")
    assert code is None or caught.value.code == code


def test_a_body_of_megabytes_arrives_whole(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    text = "0123456789abcdef" * (3 * 1024 * 64)
    data = base64.b64encode(text.encode()).decode()
    file = {"type": "file", "file": {"filename": "big.txt", "file_data": f"data:text/plain;base64,{data}"}}
    completion = client.chat.completions.create(model=MODEL, messages=with_part(topic, file))

    assert completion.usage is not None
    assert completion.usage.prompt_tokens > len(text) // 4

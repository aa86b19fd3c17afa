import base64
from typing import Any

import pytest

from tests.support.chat_requests import adjusted, call, ignored, refusal, sent, with_facts

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "JVBERi0xLjQK"


def user(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}], **more}


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(**fields: Any) -> dict[str, Any]:
    return {"type": "file", "file": fields}


def blocks(*parts: Any, **options: Any) -> Any:
    return sent(user(*parts), **options)["messages"][0]["content"]


def text_url(text: bytes, media_type: str = "text/plain") -> str:
    return f"data:{media_type};base64,{base64.b64encode(text).decode()}"


def test_blank_parts_are_dropped() -> None:
    parts = [{"type": "text", "text": " \n"}, {"type": "text", "text": "a"}, {"type": "text", "text": ""}]
    assert blocks(*parts) == [{"type": "text", "text": "a"}]


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
def test_an_image_by_content_is_base64(kind: str) -> None:
    source = {"type": "base64", "media_type": f"image/{kind}", "data": "iVBORw0KGgo="}
    assert blocks(image(f"data:image/{kind};base64,iVBORw0KGgo=")) == [{"type": "image", "source": source}]


def test_jpg_is_jpeg_and_parameters_of_the_url_do_not_matter() -> None:
    block = blocks(image("data:IMAGE/JPG;charset=utf-8;BASE64,iVBORw0KGgo="))[0]
    assert block["source"]["media_type"] == "image/jpeg"


def test_line_breaks_in_base64_are_taken_out() -> None:
    assert blocks(image("data:image/png;base64,iVBO\r\nRw0K\nGgo=\n"))[0]["source"]["data"] == "iVBORw0KGgo="


@pytest.mark.parametrize("url", ["https://example.com/a.png", "HTTP://example.com/a.png"])
def test_an_image_by_address_is_fetched_by_anthropic(url: str) -> None:
    assert blocks(image(url))[0]["source"] == {"type": "url", "url": url}


def test_a_bare_string_is_an_image_url_too() -> None:
    assert blocks({"type": "image_url", "image_url": PNG})[0]["source"]["data"] == "iVBORw0KGgo="


def test_detail_is_reported_unless_it_is_the_default() -> None:
    request = user(image(PNG, detail="low"), image(PNG, detail="auto"))
    assert ignored(request) == ("messages[0].content[0].image_url.detail",)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:image/tiff;base64,AAAA", "invalid_image_format"),
        ("data:image/png,AAAA", "invalid_image_format"),
        ("data:,", "invalid_image_format"),
        ("data:image/png;base64", "invalid_value"),
        ("data:image/png;base64,", "invalid_value"),
        ("data:image/png;base64,AAA", "invalid_value"),
        ("data:image/png;base64,AA=A", "invalid_value"),
        ("data:image/png;base64,A===", "invalid_value"),
        ('data:image/png;base64,AA"A', "invalid_value"),
        ('data:image/png;base64,AAA="', "invalid_value"),
        ("data:image/png;base64,A-_A", "invalid_value"),
        ("data:image/png;base64,ÄÄAA", "invalid_value"),
        ("ftp://example.com/a.png", "invalid_value"),
        ("", "invalid_value"),
    ],
)
def test_what_is_no_image_is_refused_with_its_path(url: str, code: str) -> None:
    error = refusal(user({"type": "text", "text": "a"}, image(url)))
    assert (error.param, error.code) == ("messages[0].content[1].image_url.url", code)


def test_a_model_without_vision_refuses_images() -> None:
    error = refusal(user(image(PNG)), models=with_facts("claude-opus-5-5", vision=False))
    assert (error.param, error.code) == ("messages[0].content[0].image_url", "unsupported_value")


def test_there_is_a_bound_on_images() -> None:
    assert len(blocks(*[image(PNG)] * 600)) == 600
    assert refusal(user(*[image(PNG)] * 601)).param == "messages[0].content[600].image_url"


def test_audio_is_refused() -> None:
    part = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    error = refusal(user(part))
    assert (error.param, error.code) == ("messages[0].content[0]", "unsupported_value")


def test_audio_can_be_stripped_and_is_reported_then() -> None:
    part = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    request = user(part, {"type": "text", "text": "a"})
    assert sent(request, input_audio="strip")["messages"][0]["content"] == [{"type": "text", "text": "a"}]
    assert ignored(request, input_audio="strip") == ("messages[0].content[0]",)


def test_a_pdf_keeps_its_name() -> None:
    expected = {
        "type": "document",
        "title": "r.pdf",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    }
    assert blocks(file(filename="r.pdf", file_data=f"data:application/pdf;base64,{PDF}")) == [expected]
    assert blocks(file(filename="r.pdf", file_data=PDF)) == [expected]


def test_a_pdf_without_a_name_has_no_title() -> None:
    assert "title" not in blocks(file(file_data=f"data:application/pdf;base64,{PDF}"))[0]


@pytest.mark.parametrize("media_type", ["text/csv", "text/markdown", "application/json"])
def test_a_text_file_becomes_a_text_document(media_type: str) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "ä,b"}
    assert blocks(file(file_data=text_url("ä,b".encode(), media_type)))[0]["source"] == source


def test_a_text_file_may_be_percent_encoded() -> None:
    block = blocks(file(file_data="data:text/plain;charset=utf-8,h%C3%A9llo%0Aa+b"))[0]
    assert block["source"]["data"] == "héllo\na+b"


def test_of_a_file_by_content_and_by_id_the_id_is_reported() -> None:
    request = user(file(file_data=f"data:application/pdf;base64,{PDF}", file_id="file_011"))
    assert ignored(request) == ("messages[0].content[0].file.file_id",)


def test_a_bare_text_file_is_known_by_its_name() -> None:
    data = base64.b64encode(b"hello").decode()
    assert blocks(file(filename="A.TXT", file_data=data))[0]["source"]["data"] == "hello"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"file_data": "data:application/zip;base64,AAAA"}, "file_data", "unsupported_value"),
        ({"file_data": "data:application/pdf,hello"}, "file_data", "unsupported_value"),
        ({"file_data": "data:text/plain,%FF"}, "file_data", "invalid_value"),
        ({"file_data": "data:text/plain,%20"}, "file_data", "invalid_value"),
        ({"file_data": "AAAA", "filename": "a.zip"}, "file_data", "unsupported_value"),
        ({"file_data": "AAAA"}, "file_data", "unsupported_value"),
        ({"file_data": "data:application/pdf;base64,A"}, "file_data", "invalid_value"),
        ({"file_data": "data:text/plain;base64,A"}, "file_data", "invalid_value"),
        ({"file_data": text_url(b"\xff\xfe")}, "file_data", "invalid_value"),
        ({"file_data": text_url(b" \n")}, "file_data", "invalid_value"),
        ({}, "file_data", "missing_required_parameter"),
        ({"file_id": "file-abc"}, "file_id", "unsupported_value"),
    ],
)
def test_what_is_no_file_is_refused_with_its_path(fields: dict[str, str], param: str, code: str) -> None:
    error = refusal(user(file(**fields)))
    assert (error.param, error.code) == (f"messages[0].content[0].file.{param}", code)


def test_a_file_of_anthropic_is_named_by_its_id() -> None:
    block = blocks(file(file_id="file_011", filename="r.pdf"))[0]
    assert block == {"type": "document", "title": "r.pdf", "source": {"type": "file", "file_id": "file_011"}}


def test_a_model_without_pdfs_refuses_them() -> None:
    request = user(file(file_data=f"data:application/pdf;base64,{PDF}"))
    assert refusal(request, models=with_facts("claude-opus-5-5", pdf=False)).code == "unsupported_value"


def test_refusals_of_the_assistant_are_text() -> None:
    said = [{"type": "refusal", "refusal": "No."}, {"type": "refusal", "refusal": ""}, {"type": "text", "text": "Ok."}]
    a, b = {"role": "user", "content": "a"}, {"role": "user", "content": "b"}
    request = {"messages": [a, {"role": "assistant", "content": said}, b]}
    assert sent(request)["messages"][1]["content"] == [{"type": "text", "text": "No."}, {"type": "text", "text": "Ok."}]
    assert adjusted(request) == {}


def test_what_is_not_text_is_counted_by_itself() -> None:
    data = base64.b64encode(b"%PDF-" + bytes(300_000)).decode()
    plain = call(user({"type": "text", "text": "x"})).size
    with_image = call(user({"type": "text", "text": "x"}, image(f"data:image/png;base64,{data}"))).size
    assert 1500 < with_image.expected_tokens - plain.expected_tokens < 1700
    assert with_image.most_tokens - plain.most_tokens < 10_000
    with_pdf = call(user(file(filename="a.pdf", file_data=data))).size
    assert with_pdf.most_tokens == 1_000_000
    assert 10_000 < with_pdf.expected_tokens < 20_000
    assert call(user(file(file_id="file_1"), model="claude-haiku-4-5")).size.most_tokens == 200_000


def test_a_document_of_text_is_bounded_by_its_bytes() -> None:
    assert call(user(file(file_data=text_url(b"x" * 40_000)))).size.most_tokens < 50_000

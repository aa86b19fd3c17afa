import json
import re
from typing import Any

import pytest

from app.errors import InvalidRequest
from app.translate.chat_decoding import decode_chat_request
from tests.support.chat_requests import HELLO


def encoded(**fields: Any) -> bytes:
    return json.dumps({"model": "opus", "messages": HELLO, **fields}).encode()


def error_of(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode_chat_request(body)
    return caught.value


def test_a_request_is_decoded_by_role_and_part() -> None:
    chat = decode_chat_request(encoded(messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]))
    assert (chat.model, chat.unknown) == ("opus", ())
    assert type(chat.request.messages[0]).__name__ == "UserMessage"


def test_null_counts_as_absent() -> None:
    chat = decode_chat_request(encoded(temperature=None, tools=None, stop=None, tool_choice=None, metadata=None))
    assert chat == decode_chat_request(encoded())


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"foo": 1}, ("foo",)),
        ({"foo": None}, ()),
        ({"foo": 1, "metadata": {"a": "b"}, "stop": ["x"], "anthropic": {"a": [1]}}, ("foo",)),
        ({"messages": [{"role": "user", "content": "x", "foo": 1}]}, ("messages[0].foo",)),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "foo": 1}]}], "bar": {}},
            ("messages[0].content[0].foo", "bar"),
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"foo": 1}, "foo": 1}}]},
            ("tools[0].function.foo",),
        ),
        ({"response_format": {"type": "text", "foo": 1}}, ("response_format.foo",)),
        ({"metadata": {"foo": "x"}, "stream_options": {"foo": 1}}, ("stream_options.foo",)),
        ({"tool_choice": {"type": "function", "function": {"name": "f", "foo": 1}}}, ("tool_choice.function.foo",)),
    ],
)
def test_unknown_fields_are_found_at_every_level(fields: dict[str, Any], paths: tuple[str, ...]) -> None:
    assert decode_chat_request(encoded(**fields)).unknown == paths


def test_the_rest_of_a_request_with_unknown_fields_is_kept() -> None:
    parameters = {"type": "object", "properties": {"x": {"foo": [1.5, "ü", None]}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    chat = decode_chat_request(encoded(foo=1, tools=tools))
    assert chat.request.tools is not None
    assert json.loads(bytes(chat.request.tools[0].function.parameters)) == parameters  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("fields", "param", "code", "says"),
    [
        ({"model": 5}, "model", "invalid_type", "expected a string, but got an integer"),
        ({"messages": "x"}, "messages", "invalid_type", "expected an array"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type", "a string or an array"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter", "Missing required"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter", "Missing required"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value", "'assistant'"),
        ({"messages": [{"role": 5, "content": "x"}]}, "messages[0].role", "invalid_value", "'user'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
            "messages[0].content[0].type",
            "invalid_value",
            "'image_url'",
        ),
        ({"temperature": "hot"}, "temperature", "invalid_type", "expected a decimal number"),
        ({"n": 1.5}, "n", "invalid_type", "expected an integer"),
        ({"n": True}, "n", "invalid_type", "got a boolean"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value", "'minimal'"),
        ({"tool_choice": "must"}, "tool_choice", "invalid_value", "'required'"),
        ({"modalities": ["smell"]}, "modalities[0]", "invalid_value", "'text'"),
        ({"metadata": {"a": 1}}, "metadata", "invalid_type", "expected a string"),
        ({"logit_bias": {"a": "b"}}, "logit_bias", "invalid_type", "decimal"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value", "'json_schema'"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_accepted(fields: dict[str, Any], param: str, code: str, says: str) -> None:
    error = error_of(encoded(**fields))
    assert (error.param, error.code) == (param, code)
    assert says in error.message


def accepted_for(message: str) -> list[str]:
    body = b'{"model":"x","messages":[{"role":"user","content":"a"},' + message.encode()
    return re.findall("'([^']*)'", error_of(body).message.partition("Supported values are: ")[2])


@pytest.mark.parametrize(
    ("role", "accepted"),
    [
        ("system", ["text"]),
        ("user", ["text", "image_url", "input_audio", "file"]),
        ("assistant", ["text", "refusal"]),
        ("tool", ["text", "image_url"]),
    ],
)
def test_the_types_of_a_part_are_those_of_its_role(role: str, accepted: list[str]) -> None:
    message = f'{{"role":"{role}","tool_call_id":"a","content":[{{"type":"video"}}]}}]}}'
    assert accepted_for(message.replace('"tool_call_id":"a",', "") if role != "tool" else message) == accepted


@pytest.mark.parametrize("rest", ["", '],"x":' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_types_are_listed_once_where_the_body_cannot_be_read_to_its_end(rest: str) -> None:
    assert accepted_for('{"role":"assistant","content":[{"type":"video"}]}' + rest) == [
        "text",
        "image_url",
        "input_audio",
        "file",
        "refusal",
    ]


def test_a_long_wrong_value_is_not_repeated_whole() -> None:
    assert len(error_of(encoded(reasoning_effort="x" * 10_000)).message) < 300


@pytest.mark.parametrize("value", [[{"bar": 1}], {"bar": 1}])
def test_a_wrong_type_beside_an_unknown_field_is_named(value: Any) -> None:
    assert error_of(encoded(foo=1, user=value)).param == "user"


def test_a_missing_model_is_named() -> None:
    error = error_of(b'{"messages":[]}')
    assert (error.param, error.message) == ("model", "Missing required parameter: 'model'.")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "could not parse"),
        (b"{", "could not parse"),
        (b'{"model": }', "byte 10"),
        (b'{"model":"x","messages":[]} x', "trailing"),
        (b'{"model":"x","messages":[],"temperature":NaN}', "could not parse"),
        (b"\xef\xbb\xbf{}", "could not parse"),
        (rb'{"model":"\ud800","messages":[]}', "could not parse"),
        (b'{"model":"\xff","messages":[]}', "UTF-8 (byte 10)"),
        (
            b'{"model":"x","messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":"\xff"}}]}',
            "UTF-8",
        ),
        (
            b'{"model":"x","messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":'
            + b"[" * 100_000,
            "deeply",
        ),
        (b'{"foo":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deeply"),
        (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
    ],
)
def test_a_body_that_is_no_request_is_refused_in_words(body: bytes, says: str) -> None:
    error = error_of(body)
    assert says in error.message
    assert error.param is None


def test_huge_numbers_are_named() -> None:
    assert error_of(encoded(temperature=1).replace(b'"temperature": 1', b'"temperature": 1e999')).param == "temperature"
    assert error_of(encoded(seed=1).replace(b'"seed": 1', b'"seed": ' + b"9" * 5_000)).param == "seed"


def test_of_a_key_given_twice_the_last_counts() -> None:
    assert decode_chat_request(b'{"model":"a","messages":[],"model":"b"}').model == "b"

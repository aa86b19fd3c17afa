from __future__ import annotations

import pytest

from app.translate.tool_calls import arguments_text, completion_id, custom_input, structured_call_id


def test_arguments_are_the_same_json_made_compact() -> None:
    input_json = b'{ "city": "Ro\\u00e9me",\n "at": [1.0, 1e400, 12345678901234567890] }'
    assert arguments_text(input_json) == '{"city":"Ro\\u00e9me","at":[1.0,1e400,12345678901234567890]}'


def test_arguments_that_were_cut_off_are_given_as_they_came() -> None:
    assert arguments_text(b'{"_raw_arguments":"{\\"city\\": \\"Ro"}', is_cut=True) == '{"city": "Ro'


def test_arguments_of_a_whole_message_are_never_unwrapped() -> None:
    assert arguments_text(b'{"_raw_arguments":"x"}') == '{"_raw_arguments":"x"}'


@pytest.mark.parametrize(
    "input_json", [b'{"city":"Rome"}', b'{"_raw_arguments":1}', b'{"_raw_arguments":"x","y":1}', b"{}"]
)
def test_whole_arguments_of_a_message_that_was_cut_stay_as_they_are(input_json: bytes) -> None:
    assert arguments_text(input_json, is_cut=True) == input_json.decode()


@pytest.mark.parametrize(
    ("text", "free_text"),
    [
        ('{"input":"date\\n"}', "date\n"),
        ('{ "input" : "d\u00e9j\u00e0" }', "déjà"),
        ("{}", ""),
        ('{"input":7}', '{"input":7}'),
        ('{"command":"ls"}', '{"command":"ls"}'),
        ('{"input":"ls","cwd":"/"}', '{"input":"ls","cwd":"/"}'),
        ('{"input":"ls -l', '{"input":"ls -l'),
    ],
)
def test_a_custom_tool_gets_its_free_text_or_what_came_instead(text: str, free_text: str) -> None:
    assert custom_input(text) == free_text


def test_ids_are_made_from_the_id_of_the_message() -> None:
    assert completion_id("msg_01Ab") == "chatcmpl-01Ab"
    assert structured_call_id("msg_01Ab") == "call_01Ab"
    assert completion_id("other") == "chatcmpl-other"

import json

from app.translate.chat_to_messages import continue_after_pause
from tests.support.chat_requests import call

SAID = b'[{"type":"text","text":"a"}]'


def test_what_was_said_follows_the_messages() -> None:
    body = call({"web_search_options": {}}).body
    continued = json.loads(continue_after_pause(body, SAID))
    assert continued.pop("messages") == [
        *json.loads(body).pop("messages"),
        {"role": "assistant", "content": json.loads(SAID)},
    ]
    assert continued == {key: value for key, value in json.loads(body).items() if key != "messages"}


def test_the_rest_of_the_request_keeps_its_bytes() -> None:
    body = call({"web_search_options": {}}).body
    start = body.index(b'"messages"') + len(b'"messages":[')
    assert continue_after_pause(body, SAID)[:start] == body[:start]


def test_it_can_go_on_more_than_once() -> None:
    body = continue_after_pause(continue_after_pause(call({}).body, SAID), b"[]")
    assert [turn["role"] for turn in json.loads(body)["messages"]] == ["user", "assistant", "assistant"]

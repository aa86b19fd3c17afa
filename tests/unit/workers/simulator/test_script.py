"""Where scripts come from, which of them wins, and how often they act."""

import pytest

from tests.support.simulator_calls import body, content, events, json_of, message, refusal, send, text_of
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings


@pytest.fixture
def simulator():
    return Simulator(SimulatorSettings())


def test_a_marker_in_the_prompt_sets_the_status(simulator):
    reply = send(simulator, body("Hello [[sim: status=529]]"))
    assert (reply.status, json_of(reply)["error"]) == (529, {"type": "overloaded_error", "message": "Overloaded"})


def test_a_marker_in_the_system_prompt_acts(simulator):
    assert send(simulator, body(system=[{"type": "text", "text": "[[sim: status=503]]"}])).status == 503


def test_a_marker_in_an_older_message_has_no_effect(simulator):
    payload = body("[[sim: status=500]]", {"role": "assistant", "content": "Hm."}, "Again")
    assert send(simulator, payload).status == 200


def test_a_marker_acts_as_often_as_it_says_on_the_same_request(simulator):
    payload = body("[[sim: status=500 times=2]]")
    assert [send(simulator, payload).status for _ in range(4)] == [500, 500, 200, 200]


def test_times_counts_every_request_for_itself(simulator):
    for prompt in ("a [[sim: status=500 times=1]]", "b [[sim: status=500 times=1]]"):
        assert send(simulator, body(prompt)).status == 500


def test_a_header_script_acts(simulator):
    headers = {"x-simulator-script": "status=429 retry_after=7 should_retry=false"}
    reply = send(simulator, body(), headers=headers)
    assert reply.status == 429
    assert b"retry-after: 7\r\n" in reply.headers
    assert b"x-should-retry: false\r\n" in reply.headers


@pytest.mark.parametrize(
    ("script", "has"),
    [
        ("status=429", True),
        ("status=429 retry_after=none", False),
        ("status=429 retry_after=0", False),
        ("status=529", False),
    ],
)
def test_only_a_rate_limit_says_by_itself_when_to_come_back(simulator, script, has):
    reply = send(simulator, body(f"[[sim: {script}]]"))
    assert (b"retry-after: 1\r\n" in reply.headers) is has


def test_zero_is_a_time_to_come_back(simulator):
    assert b"retry-after: 0\r\n" in send(simulator, body("[[sim: status=429 retry_after=0]]")).headers


def test_a_single_field_has_a_header_of_its_own(simulator):
    assert send(simulator, body(), headers={"x-simulator-ttft-ms": "250"}).parts[0].due_s == 0.25


def test_the_prompt_wins_over_headers_and_headers_over_admin_scripts(simulator):
    send(simulator, {"status": 500, "error_message": "admin"}, path="/_simulator/script")
    reply = send(simulator, body("[[sim: status=503]]"), headers={"x-simulator-script": "status=502 error_code=c"})
    error = json_of(reply)["error"]
    assert (reply.status, error["message"], error["details"]) == (503, "admin", {"error_code": "c"})


def test_an_admin_script_acts_as_often_as_it_says(simulator):
    send(simulator, {"status": 529, "times": 1}, path="/_simulator/script")
    assert [send(simulator, body()).status for _ in range(2)] == [529, 200]


def test_an_admin_script_acts_where_its_text_is_in_the_body(simulator):
    send(simulator, {"status": 529, "match": "red"}, path="/_simulator/script")
    assert [send(simulator, body(text)).status for text in ("blue", "a red one")] == [200, 529]


def test_reset_forgets_admin_scripts(simulator):
    send(simulator, [{"status": 529}, {"ttft_ms": 5}], path="/_simulator/script")
    send(simulator, {}, path="/_simulator/reset")
    assert send(simulator, body()).status == 200


def test_the_settings_are_the_default():
    simulator = Simulator(SimulatorSettings(ttft_ms=40))
    assert send(simulator, body()).parts[0].due_s == 0.04


@pytest.mark.parametrize("script", ["colour=red", "status=many", "text='open"])
def test_a_script_that_makes_no_sense_is_a_400(simulator, script):
    assert refusal(simulator, body(), headers={"x-simulator-script": script}).startswith(
        "simulator script in x-simulator"
    )


def test_a_script_wins_over_validation(simulator):
    assert send(simulator, {"nonsense": 1}, headers={"x-simulator-script": "status=529"}).status == 529


def test_the_exact_text_can_be_asked_for(simulator):
    assert text_of(message(simulator, body("[[sim: text='two words']]"))) == "two words"


def test_exact_blocks_can_be_asked_for(simulator):
    wanted = [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "n", "input": {"b": 1}}]
    send(simulator, {"content": wanted}, path="/_simulator/script")
    answer = message(simulator, body(thinking={"type": "disabled"}))
    assert (answer["content"], answer["stop_reason"]) == (wanted, "tool_use")


def test_a_refusal_has_its_details(simulator):
    answer = message(simulator, body("[[sim: stop_reason=refusal]]"))
    assert (answer["stop_reason"], answer["stop_details"]["type"]) == ("refusal", "refusal")


def test_an_error_event_comes_after_as_many_events_as_asked(simulator):
    found = events(send(simulator, body("[[sim: error_after_events=4 status=529]]", stream=True)))
    assert [name for name, _ in found][3:] == ["content_block_delta", "error"]
    assert found[-1][1]["error"]["type"] == "overloaded_error"


def test_an_error_event_is_a_status_for_a_plain_request(simulator):
    assert send(simulator, body("[[sim: error_after_events=4 status=500]]")).status == 500


@pytest.mark.parametrize("kind", ["html", "text", "truncated", "empty", "list", "object"])
def test_nonsense_is_a_200_that_is_no_message(simulator, kind):
    reply = send(simulator, body(f"[[sim: nonsense={kind}]]"))
    assert reply.status == 200
    assert reply.full_bytes == len(content(reply))
    assert b'"type":"message"' not in content(reply) or kind == "truncated"


def test_the_content_type_can_be_wrong(simulator):
    reply = send(simulator, body("[[sim: content_type=text/html]]"))
    assert reply.headers.startswith(b"content-type: text/html\r\n")


def test_failures_come_at_the_rate_and_by_the_seed():
    def statuses():
        simulator = Simulator(SimulatorSettings(error_rate=0.3, seed=7))
        return [send(simulator, body()).status for _ in range(400)]

    first = statuses()
    assert 90 <= sum(status != 200 for status in first) <= 150
    assert set(first) == {200, 429, 500, 529}
    assert first == statuses()


def test_other_kinds_of_failures_can_be_chosen():
    simulator = Simulator(SimulatorSettings(error_rate=1, error_kinds=("drop", "cut", "event")))
    replies = [send(simulator, body(stream=True)) for _ in range(40)]
    assert {reply.ending for reply in replies} == {"close", "finish"}
    assert any(reply.drop for reply in replies)
    assert any(b"event: error" in content(reply) for reply in replies)

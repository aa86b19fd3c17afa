"""Which tools are called, how often, and with what."""

import pytest

from tests.support.simulator_calls import blocks, body, message, text_of, tool
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER, NOW, SHELL = tool("get_weather", CITY), tool("now"), tool("run_shell")


@pytest.fixture(scope="module")
def simulator():
    return Simulator(SimulatorSettings())


def called(simulator, prompt, **fields):
    fields.setdefault("tools", [WEATHER, NOW, SHELL])
    return [block["name"] for block in blocks(message(simulator, body(prompt, **fields)), "tool_use")]


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("Tell me a story.", []),
        ("Call get_weather for Rome.", ["get_weather"]),
        ("What is the weather in Rome?", ["get_weather"]),
        ("now, then get_weather, then now", ["now", "get_weather", "now"]),
        ("get_weather for Rome and get_weather for Oslo", ["get_weather", "get_weather"]),
        ("Please use a tool.", ["get_weather"]),
        ("I know nothing.", []),
    ],
)
def test_a_prompt_that_asks_for_tools_gets_them(simulator, prompt, names):
    assert called(simulator, prompt) == names


def test_a_named_choice_is_called(simulator):
    assert called(simulator, "Hello", tool_choice={"type": "tool", "name": "now"}) == ["now"]


def test_any_choice_calls_the_first_unless_one_is_named(simulator):
    assert called(simulator, "Hello", tool_choice={"type": "any"}) == ["get_weather"]
    assert called(simulator, "run_shell", tool_choice={"type": "any"}) == ["run_shell"]


def test_choice_none_calls_nothing(simulator):
    assert called(simulator, "get_weather", tool_choice={"type": "none"}) == []


def test_without_parallel_calls_there_is_one(simulator):
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert called(simulator, "now and get_weather", tool_choice=choice) == ["now"]


def test_a_trailing_system_message_may_ask(simulator):
    payload = body(
        "Rome?", {"role": "system", "content": "Respond only by calling the tool `now`."}, tools=[WEATHER, NOW]
    )
    assert [block["name"] for block in blocks(message(simulator, payload), "tool_use")] == ["now"]


def test_a_script_names_the_calls(simulator):
    assert called(simulator, "[[sim: calls=now,get_weather preface='Let me see.']]") == ["now", "get_weather"]


def test_arguments_take_proper_names_from_the_prompt(simulator):
    answer = message(simulator, body("get_weather for Rome and get_weather for Oslo", tools=[WEATHER]))
    assert [block["input"] for block in blocks(answer, "tool_use")] == [{"city": "Rome"}, {"city": "Oslo"}]


def test_ids_are_unique_and_the_stop_reason_is_tool_use(simulator):
    answer = message(simulator, body("now now now", tools=[NOW]))
    assert len({block["id"] for block in blocks(answer, "tool_use")}) == 3
    assert answer["stop_reason"] == "tool_use"


def test_a_forced_call_comes_without_thinking(simulator):
    answer = message(simulator, body("Hello", model="claude-haiku-5-5", tools=[NOW], tool_choice={"type": "any"}))
    assert [block["type"] for block in answer["content"]] == ["tool_use"]


def test_after_results_comes_a_text_that_uses_them(simulator):
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "now", "input": {}}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "12:00"}]}
    answer = message(simulator, body("now", call, result, tools=[NOW]))
    assert text_of(answer).startswith("The tool results are: 12:00.")


def test_a_call_that_does_not_fit_into_max_tokens_is_left_out(simulator):
    answer = message(
        simulator, body("now get_weather", tools=[WEATHER, NOW], max_tokens=1, thinking={"type": "disabled"})
    )
    assert answer["stop_reason"] == "max_tokens"

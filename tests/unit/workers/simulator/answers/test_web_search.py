"""The web search server tool: results with citations, pauses, and their continuation."""

import pytest

from tests.support.simulator_calls import blocks, body, message
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings

SEARCH = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]


@pytest.fixture(scope="module")
def simulator():
    return Simulator(SimulatorSettings())


def kinds(answer):
    return [block["type"] for block in answer["content"] if block["type"] != "thinking"]


def test_a_search_comes_with_results_and_citations(simulator):
    answer = message(simulator, body("Search for tea.", tools=SEARCH))
    assert kinds(answer) == ["server_tool_use", "web_search_tool_result", "text", "text", "text"]
    assert blocks(answer, "text")[1]["citations"][0]["type"] == "web_search_result_location"
    assert answer["usage"]["server_tool_use"]["web_search_requests"] == 1


def test_no_search_when_nothing_asks_for_it(simulator):
    assert kinds(message(simulator, body("Tell me a story.", tools=SEARCH))) == ["text"]


def test_a_pause_ends_in_a_search_and_its_continuation_begins_with_the_result(simulator):
    prompt = "Search for tea. [[sim: pause=1]]"
    paused = message(simulator, body(prompt, tools=SEARCH))
    assert (paused["stop_reason"], kinds(paused)) == ("pause_turn", ["server_tool_use"])
    turn = {"role": "assistant", "content": paused["content"]}
    resumed = message(simulator, body(prompt, turn, tools=SEARCH))
    assert (resumed["stop_reason"], kinds(resumed)[:2]) == ("end_turn", ["web_search_tool_result", "text"])


def test_a_turn_may_pause_more_than_once(simulator):
    prompt = "Search for tea. [[sim: pause=2]]"
    content = []
    reasons = []
    for _ in range(3):
        turns = [{"role": "assistant", "content": content}] if content else []
        answer = message(simulator, body(prompt, *turns, tools=SEARCH))
        reasons.append(answer["stop_reason"])
        content = content + answer["content"]
    assert reasons == ["pause_turn", "pause_turn", "end_turn"]
    assert len([block for block in content if block["type"] == "web_search_tool_result"]) == 2

from typing import Any

import pytest

from tests.support.chat_requests import HELLO, WEATHER, adjusted, call, ignored, sent

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def text(**more: Any) -> dict[str, Any]:
    return {"type": "text", "text": "x", **more}


def user(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}], **more}


def marks(request: dict[str, Any], **options: Any) -> list[Any]:
    """The marker of each block of the first message."""
    return [block.get("cache_control") for block in sent(request, **options)["messages"][0]["content"]]


@pytest.mark.parametrize(
    ("breakpoint_", "mark"),
    [
        ({"mode": "explicit"}, MARK),
        ({"mode": "explicit", "ttl": "30m"}, HOUR),
        ({"mode": "explicit", "ttl": "12h"}, HOUR),
    ],
)
def test_a_breakpoint_is_a_marker(breakpoint_: dict[str, str], mark: Any) -> None:
    assert marks(user(text(prompt_cache_breakpoint=breakpoint_), text())) == [mark, None]


def test_more_than_an_hour_is_reported() -> None:
    request = user(text(prompt_cache_breakpoint={"mode": "explicit", "ttl": "12h"}))
    assert adjusted(request) == {"messages[0].content[0].prompt_cache_breakpoint.ttl": "1h"}


@pytest.mark.parametrize(
    ("more", "mark"),
    [
        ({"prompt_cache_options": {"ttl": "30m"}}, HOUR),
        ({"prompt_cache_retention": "24h"}, HOUR),
        ({"prompt_cache_retention": "in_memory"}, MARK),
        ({"prompt_cache_options": {"mode": "implicit"}}, MARK),
    ],
)
def test_the_lifetime_of_the_request_holds_for_all_markers(more: dict[str, Any], mark: Any) -> None:
    request = user(
        text(prompt_cache_breakpoint={}), text(cache_control=MARK), text(cache_control={**MARK, "ttl": "5m"}), **more
    )
    assert marks(request) == [mark, mark, {**MARK, "ttl": "5m"}]


def test_a_lifetime_of_a_day_is_reported() -> None:
    for request, path in (
        ({"prompt_cache_options": {"ttl": "24h"}}, "prompt_cache_options.ttl"),
        ({"prompt_cache_retention": "24h"}, "prompt_cache_retention"),
    ):
        assert adjusted(request, auto_cache="always") == {path: "1h"}
        assert adjusted(user(text(prompt_cache_breakpoint={}), **request)) == {path: "1h"}


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        ({"prompt_cache_options": {"ttl": "30m"}}, "prompt_cache_options"),
        ({"prompt_cache_options": {"ttl": "24h", "mode": "explicit"}}, "prompt_cache_options.ttl"),
        ({"prompt_cache_retention": "24h"}, "prompt_cache_retention"),
    ],
)
def test_a_lifetime_of_nothing_is_reported(request_: dict[str, Any], path: str) -> None:
    assert ignored(request_) == (path,)
    assert adjusted(request_) == {}


def test_what_is_the_default_anyway_is_not_reported() -> None:
    assert ignored({"prompt_cache_options": {"mode": "implicit"}, "prompt_cache_retention": "in_memory"}) == ()


@pytest.mark.parametrize(
    ("mode", "request_", "marked"),
    [
        ("off", {"tools": [WEATHER]}, False),
        ("always", {}, True),
        ("auto", {}, False),
        ("auto", {"tools": [WEATHER]}, True),
        ("auto", {"messages": [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]}, False),
        ("auto", {"messages": [{"role": "system", "content": "a"}, *HELLO]}, False),
        ("auto", {"messages": [*HELLO, *HELLO]}, True),
        ("auto", {"session_id": "s"}, True),
        ("auto", {"messages": [*HELLO, {"role": "assistant", "content": "a"}, *HELLO]}, True),
        ("always", {"prompt_cache_options": {"mode": "explicit"}}, False),
    ],
)
def test_the_automatic_marker_is_a_setting(mode: str, request_: dict[str, Any], marked: bool) -> None:
    assert ("cache_control" in sent(request_, auto_cache=mode)) == marked


def test_the_automatic_marker_has_the_lifetime_of_the_request() -> None:
    assert sent({"prompt_cache_retention": "24h"}, auto_cache="always")["cache_control"] == HOUR


def test_a_marker_of_the_request_is_passed_on() -> None:
    assert sent({"cache_control": HOUR})["cache_control"] == HOUR


def test_a_marker_of_a_message_goes_to_its_last_block() -> None:
    request = {"messages": [{"role": "user", "content": [text(), text()], "cache_control": MARK}]}
    assert marks(request) == [None, MARK]


def test_a_block_marked_twice_counts_once() -> None:
    parts = [text(cache_control=MARK)] * 4
    request = {"messages": [{"role": "user", "content": parts, "cache_control": MARK}]}
    assert marks(request) == [MARK] * 4
    assert ignored(request) == ()


def test_a_marker_on_nothing_is_reported() -> None:
    empty = {"role": "user", "content": "", "cache_control": MARK}
    assert ignored({"messages": [empty, *HELLO]}) == ("messages[0].cache_control",)
    blank = user({"type": "text", "text": " ", "prompt_cache_breakpoint": {}}, text())
    assert ignored(blank) == ("messages[0].content[0].prompt_cache_breakpoint",)
    assert ignored(user({"type": "text", "text": "", "cache_control": MARK}, text())) == (
        "messages[0].content[0].cache_control",
    )


def test_results_and_calls_can_be_marked() -> None:
    called = [{"id": "c", "type": "function", "function": {"name": "weather", "arguments": ""}}]
    messages = [
        *HELLO,
        {"role": "assistant", "tool_calls": called, "cache_control": MARK},
        {"role": "tool", "tool_call_id": "c", "content": "x", "cache_control": MARK},
    ]
    turns = sent({"messages": messages, "tools": [WEATHER]})["messages"]
    assert [turn["content"][-1].get("cache_control") for turn in turns] == [None, MARK, MARK]


@pytest.mark.parametrize(
    "tool",
    [
        {**WEATHER, "cache_control": MARK},
        {"type": "function", "function": {"name": "f", "cache_control": MARK}},
        {"type": "custom", "custom": {"name": "f"}, "cache_control": MARK},
    ],
)
def test_tools_can_be_marked(tool: dict[str, Any]) -> None:
    assert sent({"tools": [tool]})["tools"][0]["cache_control"] == MARK


@pytest.mark.parametrize("more", [{}, {"cache_control": HOUR}])
def test_a_marker_before_one_of_an_hour_gets_an_hour(more: dict[str, Any]) -> None:
    last = {} if more else {"cache_control": HOUR}
    request = user(text(cache_control=HOUR), text(cache_control=MARK), text(**last), **more)
    assert marks(request) == [HOUR, HOUR, last.get("cache_control")]
    assert adjusted(request) == {"messages[0].content[1].cache_control.ttl": "1h"}


def test_the_order_of_markers_is_that_of_the_prompt() -> None:
    """The system message moves behind the user's, so that the hour comes first."""
    system = {"role": "system", "content": "s", "cache_control": MARK}
    messages = [*HELLO, system, {"role": "user", "content": "u", "cache_control": HOUR}]
    assert adjusted({"messages": messages}) == {}


def test_markers_inside_results_count_in_their_place() -> None:
    called = [{"id": "c", "type": "function", "function": {"name": "weather", "arguments": ""}}]
    answer = {"role": "tool", "tool_call_id": "c", "content": [text(cache_control=MARK)], "cache_control": HOUR}
    request = {"messages": [*HELLO, {"role": "assistant", "tool_calls": called}, answer]}
    assert adjusted(request) == {"messages[2].content[0].cache_control.ttl": "1h"}


@pytest.mark.parametrize(("mode", "kept"), [("off", 4), ("always", 3)])
def test_the_latest_markers_are_kept(mode: str, kept: int) -> None:
    tool = {**WEATHER, "cache_control": MARK}
    request = user(*[text(cache_control=MARK)] * 4, tools=[tool])
    body = sent(request, auto_cache=mode)
    assert "cache_control" not in body["tools"][0]
    assert marks(request, auto_cache=mode) == [None] * (4 - kept) + [MARK] * kept
    dropped = tuple(f"messages[0].content[{index}].cache_control" for index in range(4 - kept))
    assert ignored(request, auto_cache=mode) == ("tools[0].function.cache_control", *dropped)


@pytest.mark.parametrize(
    ("request_", "mode", "lifetime"),
    [
        ({}, "off", ""),
        ({}, "always", "5m"),
        ({"prompt_cache_retention": "24h"}, "always", "1h"),
        (user(text(cache_control=MARK)), "off", "5m"),
        (user(text(cache_control=MARK), text(cache_control=HOUR), text(cache_control=MARK)), "off", "1h"),
    ],
)
def test_the_longest_lifetime_is_known(request_: dict[str, Any], mode: str, lifetime: str) -> None:
    assert call(request_, auto_cache=mode).size.cache_lifetime == lifetime

from typing import Any

import pytest

from tests.support.chat_requests import WEATHER, adjusted, ignored, refusal, sent

TEXT = "claude-haiku-4-5"  # takes a prefill, and no system messages in the middle
USER: dict[str, Any] = {"role": "user", "content": "a"}


def function_call(id_: str, arguments: str = "{}", name: str = "weather") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*tool_calls: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": list(tool_calls), **more}


def result(id_: str, content: Any = "ok", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content, **more}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), "tools": [WEATHER], **more}


def turns(*messages: Any, **options: Any) -> Any:
    return sent(chat(*messages), **options)["messages"]


def says(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def test_leading_instructions_go_to_system_part_by_part() -> None:
    system = {"role": "system", "content": [says("a"), says(""), says("b")]}
    body = sent(chat(system, {"role": "developer", "content": "c"}, USER))
    assert body["system"] == [says("a"), says("b"), says("c")]


def test_consecutive_messages_of_a_role_are_kept_apart() -> None:
    assert [turn["role"] for turn in turns(USER, USER)] == ["user", "user"]


def test_an_empty_user_message_is_dropped() -> None:
    assert turns({"role": "user", "content": " "}, USER) == [{"role": "user", "content": [says("a")]}]


def test_an_empty_last_user_message_is_refused() -> None:
    assert refusal(chat(USER, {"role": "user", "content": []})).param == "messages[1].content"


def test_a_conversation_needs_a_message() -> None:
    error = refusal({"messages": []})
    assert (error.param, error.code) == ("messages", "invalid_value")


def test_there_is_a_bound_on_messages() -> None:
    assert refusal(chat(*[USER] * 100_001)).param == "messages"


def test_names_of_participants_are_reported() -> None:
    messages = [
        {"role": "system", "content": "s", "name": "x"},
        {**USER, "name": "x"},
        calls(function_call("c"), name="x"),
        result("c", name="x"),
    ]
    assert ignored(chat(*messages)) == tuple(f"messages[{index}].name" for index in range(4))


def test_a_conversation_begins_with_the_user() -> None:
    request = chat({"role": "assistant", "content": "Hi"}, USER)
    assert sent(request)["messages"][0] == {"role": "user", "content": [says("(start)")]}
    assert adjusted(request) == {"messages": "user turn prepended"}


def test_instructions_alone_are_answered_too() -> None:
    assert turns({"role": "system", "content": "Tell a joke."}) == [{"role": "user", "content": [says("(start)")]}]


def test_an_assistant_message_without_anything_is_dropped() -> None:
    assert len(turns(USER, {"role": "assistant", "content": " ", "refusal": " ", "tool_calls": []}, USER)) == 2


def test_a_refusal_is_text() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "I can't."}
    assert turns(USER, refused, USER)[1]["content"] == [says("I can't.")]


def test_earlier_sound_is_reported_unless_empty() -> None:
    said = {"role": "assistant", "content": "b"}
    assert ignored(chat(USER, {**said, "audio": {"id": "x"}}, USER)) == ("messages[1].audio",)
    for nothing in (None, [], {}):
        assert ignored(chat(USER, {**said, "audio": nothing}, USER)) == ()


@pytest.mark.parametrize("field", ["annotations", "citations", "parsed"])
def test_what_clients_echo_of_replies_is_no_news(field: str) -> None:
    said = {"role": "assistant", "content": "b", field: [{"id": "x"}]}
    assert ignored(chat(USER, said, USER)) == ()


# Calls and results


def test_results_come_in_the_order_of_their_calls_in_one_turn() -> None:
    got = turns(USER, calls(function_call("a"), function_call("b")), result("b", "2"), result("a", "1"), USER)
    assert [turn["role"] for turn in got] == ["user", "assistant", "user", "user"]
    assert [(block["tool_use_id"], block["content"]) for block in got[2]["content"]] == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize(
    ("arguments", "input_"),
    [
        ("", {}),
        (" \n", {}),
        ('{"b": 1, "a": [1.50, "ü"]}', {"b": 1, "a": [1.5, "ü"]}),
        ('{"b": ', {"_raw_arguments": '{"b": '}),
        (r'{"b": "\ud800"}', {"_raw_arguments": r'{"b": "\ud800"}'}),
        ("[" * 3000, {"_raw_arguments": "[" * 3000}),
        ("[1]", {"_value": [1]}),
        ("null", {"_value": None}),
    ],
)
def test_arguments_become_an_object(arguments: str, input_: Any) -> None:
    request = chat(USER, calls(function_call("c", arguments)), result("c"))
    assert sent(request)["messages"][1]["content"][0]["input"] == input_
    wrapped = bool({"_raw_arguments", "_value"} & set(input_))
    assert adjusted(request) == ({"messages[1].tool_calls[0].arguments": "wrapped"} if wrapped else {})


def test_a_custom_call_has_its_input_as_text() -> None:
    custom = {"id": "c", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    block = turns(USER, calls(custom), result("c"))[1]["content"][0]
    assert (block["name"], block["input"]) == ("shell", {"input": "ls"})


def test_ids_are_cleaned_on_both_sides() -> None:
    got = turns(USER, calls(function_call("call.1|é"), function_call("call-2")), result("call.1|é"), result("call-2"))
    assert [block["id"] for block in got[1]["content"]] == ["call_1__", "call-2"]
    assert [block["tool_use_id"] for block in got[2]["content"]] == ["call_1__", "call-2"]


def test_an_id_used_again_is_told_apart() -> None:
    one = [calls(function_call("call_0")), result("call_0")]
    got = turns(
        USER,
        *one,
        *one,
        calls(function_call("call.0"), function_call("call_0_2")),
        result("call.0"),
        result("call_0_2"),
    )
    used = [block["id"] for turn in got for block in turn["content"] if block["type"] == "tool_use"]
    answered = [block["tool_use_id"] for turn in got for block in turn["content"] if block["type"] == "tool_result"]
    assert used == answered == ["call_0", "call_0_2", "call_0_3", "call_0_2_2"]


def test_results_may_have_text_images_nothing_or_an_error() -> None:
    png = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    ids = [function_call(id_) for id_ in "abcd"]
    results = [
        result("a", [says("x"), png]),
        result("b", ""),
        result("c", None, is_error=True),
        result("d", [says("")], is_error=False),
    ]
    a, b, c, d = turns(USER, calls(*ids), *results)[2]["content"]
    assert [block["type"] for block in a["content"]] == ["text", "image"]
    assert b == {"type": "tool_result", "tool_use_id": "b"}
    assert c == {"type": "tool_result", "tool_use_id": "c", "is_error": True}
    assert d == {"type": "tool_result", "tool_use_id": "d"}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([USER, result("x")], "messages[1]"),
        ([USER, calls(function_call("a")), result("b")], "messages[2]"),
        ([USER, calls(function_call("a")), result("a"), result("a")], "messages[3]"),
        ([USER, calls(function_call("a"), function_call("b")), result("a"), USER], "messages[1]"),
        ([USER, calls(function_call("a"))], "messages[1]"),
        ([USER, calls(function_call("a")), calls(function_call("b")), result("b")], "messages[1]"),
        ([USER, calls(function_call("a"), function_call("a")), result("a")], "messages[1].tool_calls[1].id"),
        ([USER, calls(function_call("")), result("")], "messages[1].tool_calls[0].id"),
        ([USER, calls(function_call("a", name="no way")), result("a")], "messages[1].tool_calls[0]"),
        ([USER, calls(function_call("a", name="x" * 65)), result("a")], "messages[1].tool_calls[0]"),
        ([USER, {"role": "function", "name": "f", "content": "x"}], "messages[1]"),
    ],
)
def test_calls_and_results_that_do_not_match_are_refused(messages: list[Any], param: str) -> None:
    error = refusal(chat(*messages))
    assert (error.param, error.code) == (param, "invalid_value")


def test_legacy_functions_are_paired_by_order_and_name() -> None:
    called = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}}
    got = turns(
        USER, called, {"role": "function", "name": "f", "content": "x"}, called, {"role": "function", "name": "f"}
    )
    assert got[1]["content"] == [{"type": "tool_use", "id": "fn_1", "name": "f", "input": {"a": 1}}]
    assert got[2]["content"] == [{"type": "tool_result", "tool_use_id": "fn_1", "content": "x"}]
    assert got[4]["content"] == [{"type": "tool_result", "tool_use_id": "fn_3"}]


def test_a_legacy_call_is_not_answered_by_a_tool_message_or_another_name() -> None:
    called = {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}
    assert refusal(chat(USER, called, result("fn_1"))).param == "messages[2]"
    assert refusal(chat(USER, called, {"role": "function", "name": "g", "content": ""})).param == "messages[2]"
    twice = [{"role": "function", "name": "f", "content": ""}] * 2
    assert refusal(chat(USER, called, *twice)).param == "messages[3]"


def test_a_legacy_result_may_be_marked_for_caching() -> None:
    called = {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}
    answer = {"role": "function", "name": "f", "content": "x", "cache_control": {"type": "ephemeral"}}
    assert turns(USER, called, answer)[2]["content"][0]["cache_control"] == {"type": "ephemeral"}


# The last turn


def test_a_trailing_assistant_turn_is_continued_where_the_model_can() -> None:
    request = chat(USER, {"role": "assistant", "content": "The answer is \n"}, model=TEXT)
    got = sent(request)["messages"]
    assert got[-1] == {"role": "assistant", "content": [says("The answer is")]}


def test_a_trailing_assistant_turn_gets_a_user_turn_elsewhere() -> None:
    request = chat(USER, {"role": "assistant", "content": "b"})
    assert sent(request)["messages"][-1] == {"role": "user", "content": [says("Continue.")]}
    assert adjusted(request) == {"messages[1]": "user turn appended"}


def test_a_trailing_assistant_turn_can_be_refused() -> None:
    error = refusal(chat(USER, {"role": "assistant", "content": "b"}), last_assistant="error")
    assert (error.param, error.code) == ("messages[1]", "unsupported_value")


def test_a_prefill_does_not_go_with_a_schema() -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    request = chat(USER, {"role": "assistant", "content": "{"}, model=TEXT, response_format=format_)
    assert sent(request)["messages"][-1]["role"] == "user"

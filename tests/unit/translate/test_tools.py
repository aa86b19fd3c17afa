from typing import Any

import pytest

from tests.support.chat_requests import HELLO, WEATHER, adjusted, call, ignored, refusal, sent, with_facts

REFUSES = "claude-opus-5-5"
ACCEPTS = "claude-haiku-5-5"
NO_SYSTEM = "claude-sonnet-5"


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def custom(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "custom", "custom": {"name": name, **more}}


def strict(name: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return function(name, strict=True, parameters={"type": "object", "properties": properties, **more})


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def with_tools(*tools: Any, **more: Any) -> dict[str, Any]:
    return {"model": ACCEPTS, "tools": list(tools), **more}


# Tools


def test_a_schema_is_forwarded_as_it_is() -> None:
    parameters = {"type": "object", "properties": {"b": {"minimum": 1.0}, "a": {"type": "string"}}, "$comment": "x"}
    assert sent(with_tools(function("f", parameters=parameters)))["tools"][0]["input_schema"] == parameters


@pytest.mark.parametrize(
    ("parameters", "schema"),
    [
        (None, {"type": "object", "properties": {}}),
        ({}, {"type": "object"}),
        ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        ({"description": "x", "type": "object"}, {"description": "x", "type": "object"}),
    ],
)
def test_what_a_schema_lacks_is_added(parameters: Any, schema: Any) -> None:
    assert sent(with_tools(function("f", parameters=parameters)))["tools"][0]["input_schema"] == schema


@pytest.mark.parametrize(
    ("parameters", "param", "code"),
    [
        ("x", "tools[0].function.parameters", "invalid_type"),
        ([], "tools[0].function.parameters", "invalid_type"),
        ({"type": "string"}, "tools[0].function.parameters.type", "invalid_value"),
        ({"type": ["object", "null"]}, "tools[0].function.parameters.type", "invalid_value"),
    ],
)
def test_parameters_that_are_no_object_schema_are_refused(parameters: Any, param: str, code: str) -> None:
    error = refusal(with_tools(function("f", parameters=parameters)))
    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "a.b"])
def test_names_of_tools_are_checked(name: str) -> None:
    assert refusal(with_tools(function(name))).param == "tools[0].function.name"
    assert refusal(with_tools(custom(name))).param == "tools[0].custom.name"


def test_names_with_dashes_and_digits_are_fine() -> None:
    names = ["get-weather", "2nd", "x" * 64]
    assert [tool["name"] for tool in sent(with_tools(*map(function, names)))["tools"]] == names


def test_two_tools_of_one_name_are_refused() -> None:
    assert refusal(with_tools(function("f"), custom("f"))).param == "tools[1]"
    assert refusal(with_tools(function("web_search"), web_search_options={})).param == "web_search_options"


def test_a_strict_tool_gets_the_enforced_schema() -> None:
    tool = sent(with_tools(strict("f", {"a": {"type": "string", "minLength": 1}}, required=["a"])))["tools"][0]
    assert tool["strict"] is True
    assert tool["input_schema"]["additionalProperties"] is False
    assert tool["input_schema"]["properties"]["a"] == {"type": "string", "description": "{minLength: 1}"}


def test_strict_false_is_nothing() -> None:
    assert "strict" not in sent(with_tools(function("f", strict=False)))["tools"][0]


def loose(*tools: Any, **more: Any) -> set[str]:
    report = adjusted(with_tools(*tools), **more)
    assert set(report.values()) <= {"false"}
    return set(report)


def test_a_schema_that_cannot_be_enforced_is_sent_as_it_is() -> None:
    tool = strict("f", {"a": {}})
    assert loose(tool) == {"tools[0].function.strict"}
    assert "strict" not in sent(with_tools(tool))["tools"][0]
    assert sent(with_tools(tool))["tools"][0]["input_schema"] == tool["function"]["parameters"]


def test_the_twenty_first_strict_tool_is_loose() -> None:
    assert loose(*[strict(f"f{number}", {}) for number in range(21)]) == {"tools[20].function.strict"}


def test_optional_properties_of_all_strict_tools_are_bounded() -> None:
    many = {f"p{number}": {"type": "string"} for number in range(20)}
    few = {f"p{number}": {"type": "string"} for number in range(5)}
    assert loose(strict("a", many), strict("b", few), strict("c", {"p": {"type": "string"}})) == {
        "tools[1].function.strict"
    }


def test_unions_of_all_strict_tools_are_bounded() -> None:
    union = {"type": ["string", "null"]}
    many = {f"p{number}": union for number in range(16)}
    tools = [strict("a", many, required=list(many)), strict("b", {"p": union}, required=["p"])]
    assert loose(*tools) == {"tools[1].function.strict"}


def test_a_model_that_enforces_nothing_gets_loose_tools() -> None:
    models = with_facts(ACCEPTS, structured_outputs=False)
    assert loose(strict("f", {}), models=models) == {"tools[0].function.strict"}


def test_a_custom_tool_takes_text() -> None:
    made = call(with_tools(custom("shell", description="Runs", format={"type": "text"})))
    tool = sent(with_tools(custom("shell")))["tools"][0]
    assert tool["input_schema"]["required"] == ["input"]
    assert "description" not in tool
    assert made.plan.custom_tools == {"shell"}
    assert made.report.adjusted == ()


@pytest.mark.parametrize(("description", "starts"), [("Sums", "Sums\n\nThe input"), (None, "The input")])
def test_a_grammar_is_told_in_the_description(description: str | None, starts: str) -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: NUMBER"}}
    request = with_tools(custom("sum", description=description, format=grammar))
    told = sent(request)["tools"][0]["description"]
    assert told.startswith(starts)
    assert told.endswith("lark grammar:\nstart: NUMBER")
    assert adjusted(request) == {"tools[0].custom.format": "description"}


def test_a_history_with_calls_gets_stubs_that_cannot_be_called() -> None:
    called = [{"id": id_, "type": "function", "function": {"name": id_, "arguments": ""}} for id_ in ("b", "a")]
    results = [{"role": "tool", "tool_call_id": id_, "content": "x"} for id_ in ("a", "b")]
    body = sent({"messages": [*HELLO, {"role": "assistant", "tool_calls": called}, *results]})
    assert [tool["name"] for tool in body["tools"]] == ["b", "a"]
    assert body["tool_choice"] == {"type": "none"}


def test_stubs_stand_beside_a_web_search_too() -> None:
    called = [
        {"id": id_, "type": "function", "function": {"name": id_, "arguments": ""}} for id_ in ("a", "web_search")
    ]
    results = [{"role": "tool", "tool_call_id": id_, "content": "x"} for id_ in ("a", "web_search")]
    history = [*HELLO, {"role": "assistant", "tool_calls": called}, *results]
    body = sent({"messages": history, "web_search_options": {}})
    assert [tool["name"] for tool in body["tools"]] == ["web_search", "a"]
    assert "tool_choice" not in body
    assert sent({"messages": history, "tools": [WEATHER]})["tools"] == sent({"tools": [WEATHER]})["tools"]


# Web search


@pytest.mark.parametrize(("size", "uses"), [("low", 3), ("medium", 5), ("high", 10), (None, 5)])
def test_web_search_is_a_tool_of_anthropic(size: str | None, uses: int) -> None:
    made = call({"web_search_options": {"search_context_size": size}})
    assert made.plan.server_tools
    assert sent({"web_search_options": {"search_context_size": size}})["tools"] == [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": uses}
    ]


def test_web_search_knows_where_the_user_is() -> None:
    place = {"city": "Rome", "country": "IT", "region": None}
    options = {"user_location": {"type": "approximate", "approximate": place}}
    tool = sent(with_tools(function("f"), web_search_options=options))["tools"][1]
    assert tool["user_location"] == {"type": "approximate", "city": "Rome", "country": "IT"}


# Legacy functions


def test_functions_are_tools() -> None:
    request = {"model": ACCEPTS, "functions": [{"name": "f", "description": "d"}], "function_call": {"name": "f"}}
    assert sent(request)["tools"] == [
        {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}
    ]
    assert sent(request)["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    assert call(request).plan.function_call


@pytest.mark.parametrize("field", ["function_call", "tool_choice"])
@pytest.mark.parametrize(("choice", "type_"), [("auto", "auto"), ("none", "none")])
def test_functions_take_a_choice_by_either_name(field: str, choice: str, type_: str) -> None:
    request = {"functions": [{"name": "f"}], field: choice}
    assert sent(request)["tool_choice"]["type"] == type_
    assert ignored(request) == ()


def test_a_tool_choice_may_name_a_function() -> None:
    request = {"model": ACCEPTS, "functions": [{"name": "f"}, {"name": "g"}], "tool_choice": named("g")}
    assert sent(request)["tool_choice"] == {"type": "tool", "name": "g", "disable_parallel_tool_use": True}


@pytest.mark.parametrize("tools", [{"functions": [{"name": "f"}]}, {"web_search_options": {}}])
def test_of_two_choices_without_tools_the_legacy_one_counts(tools: Any) -> None:
    request = {**tools, "function_call": "none", "tool_choice": "required"}
    assert sent(request)["tool_choice"] == {"type": "none"}
    assert ignored(request) == ("tool_choice",)


def test_functions_are_called_one_at_a_time_since_the_reply_holds_one_call() -> None:
    request = {"functions": [{"name": "f"}]}
    assert sent(request)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert ignored(request) == ignored({**request, "parallel_tool_calls": False}) == ()
    assert ignored({**request, "parallel_tool_calls": True}) == ("parallel_tool_calls",)


def test_a_wrong_function_is_named_by_its_path() -> None:
    assert refusal({"functions": [{"name": "a b"}]}).param == "functions[0].name"
    assert refusal({"functions": [{"name": "f"}], "function_call": {"name": "g"}}).param == "function_call"


def test_tools_replace_functions() -> None:
    request = with_tools(function("f"), functions=[{"name": "g"}], function_call="auto")
    assert [tool["name"] for tool in sent(request)["tools"]] == ["f"]
    assert ignored(request) == ("functions", "function_call")
    assert not call(request).plan.function_call


# Tool choice


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        (named("f"), {"type": "tool", "name": "f"}),
        ({"type": "custom", "custom": {"name": "g"}}, {"type": "tool", "name": "g"}),
    ],
)
def test_a_choice_is_mapped_where_the_model_takes_it(choice: Any, expected: Any) -> None:
    request = with_tools(function("f"), custom("g"), tool_choice=choice)
    assert sent(request)["tool_choice"] == expected
    assert adjusted(request) == {}


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_choice_without_tools_is_left_out(choice: str) -> None:
    assert "tool_choice" not in sent({"tool_choice": choice})


def test_a_forced_choice_without_tools_is_refused() -> None:
    assert refusal({"tool_choice": "required"}).param == "tool_choice"
    assert refusal({"tool_choice": named("f")}).param == "tool_choice"


def test_a_choice_of_a_tool_that_is_not_there_is_refused() -> None:
    assert refusal(with_tools(function("f"), tool_choice=named("g"))).code == "invalid_value"


@pytest.mark.parametrize("choice", [named("c"), custom("f")])
def test_a_choice_of_a_tool_by_the_wrong_type_is_refused(choice: Any) -> None:
    request = with_tools(function("f"), custom("c"))
    assert refusal({**request, "tool_choice": choice}).param == "tool_choice"
    several = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [choice]}}
    assert refusal({**request, "tool_choice": several}).param == "tool_choice"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", {"type": "any", "disable_parallel_tool_use": True}),
        (named("f"), {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
    ],
)
def test_calls_can_be_kept_to_one_at_a_time(choice: Any, expected: Any) -> None:
    request = with_tools(function("f"), tool_choice=choice, parallel_tool_calls=False)
    assert sent(request)["tool_choice"] == expected


def test_one_call_at_a_time_means_nothing_where_none_may_be_called() -> None:
    assert ignored(with_tools(function("f"), tool_choice="none", parallel_tool_calls=False)) == ("parallel_tool_calls",)


def test_an_answer_in_the_form_of_a_tool_is_one_call() -> None:
    request = with_tools(WEATHER, tool_choice="required", parallel_tool_calls=False, model=REFUSES)
    assert ignored(request, forced_tool_fallback="structured_output") == ()


def test_parallel_calls_without_tools_are_reported_only_when_switched_off() -> None:
    assert ignored({"parallel_tool_calls": False}) == ("parallel_tool_calls",)
    assert ignored({"parallel_tool_calls": True}) == ()


# A forced choice on a model that refuses it


def last_text(request: dict[str, Any], **options: Any) -> str:
    turn = sent(request, **options)["messages"][-1]
    return f"{turn['role']}: {turn['content'][-1]['text']}"


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ("required", "system: Respond only by calling one or more of the tools."),
        (named("f"), "system: Respond only by calling the tool `f`."),
    ],
)
def test_the_model_is_told_instead(choice: Any, text: str) -> None:
    request = with_tools(function("f"), function("g"), tool_choice=choice, model=REFUSES)
    assert sent(request)["tool_choice"] == {"type": "auto"}
    assert last_text(request) == text
    assert adjusted(request) == {"tool_choice": "auto"}
    assert call(request).plan.expects_tool_call


def test_the_instruction_joins_a_later_system_message() -> None:
    messages = [*HELLO, {"role": "system", "content": "Be brief."}]
    request = with_tools(function("f"), tool_choice="required", model=REFUSES, messages=messages)
    assert len(sent(request)["messages"]) == 2
    assert len(sent(request)["messages"][1]["content"]) == 2


def test_the_instruction_is_a_reminder_where_there_are_no_system_messages() -> None:
    models = with_facts(NO_SYSTEM, forced_tool_choice=False)
    request = with_tools(function("f"), tool_choice="required", model=NO_SYSTEM)
    assert last_text(request, models=models).startswith("user: <system-reminder>\nRespond only")


def test_the_choice_can_be_refused() -> None:
    request = with_tools(function("f"), tool_choice="required", model=REFUSES)
    error = refusal(request, forced_tool_fallback="error")
    assert (error.param, error.code) == ("tool_choice", "unsupported_value")


@pytest.mark.parametrize("choice", ["required", named("f")])
def test_the_answer_can_take_the_form_of_the_tool(choice: Any) -> None:
    request = with_tools(function("f"), tool_choice=choice, model=REFUSES)
    body = sent(request, forced_tool_fallback="structured_output")
    made = call(request, forced_tool_fallback="structured_output")
    assert body["tool_choice"] == {"type": "none"}
    assert body["output_config"]["format"]["schema"] == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }
    assert (made.plan.structured_tool, made.plan.expects_tool_call) == ("f", False)
    assert dict(made.report.adjusted) == {"tool_choice": "structured_output"}


def test_a_strict_tool_gives_its_enforced_schema_as_the_form() -> None:
    request = with_tools(strict("f", {}), tool_choice="required", model=REFUSES)
    body = sent(request, forced_tool_fallback="structured_output")
    assert body["output_config"]["format"]["schema"] == body["tools"][0]["input_schema"]


@pytest.mark.parametrize(
    "tools",
    [[function("f"), function("g")], [function("f", parameters={"properties": {"a": {}}})]],
    ids=["several tools", "no enforceable schema"],
)
def test_without_such_a_form_the_model_is_told(tools: Any) -> None:
    request = with_tools(*tools, tool_choice="required", model=REFUSES)
    assert call(request, forced_tool_fallback="structured_output").plan.expects_tool_call


def test_web_search_is_no_form_of_an_answer() -> None:
    request = {"tool_choice": "required", "web_search_options": {}}
    assert call(request, forced_tool_fallback="structured_output").plan.expects_tool_call


def test_the_form_of_the_tool_wins_over_the_response_format() -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string"}}}
    request = with_tools(function("f"), tool_choice="required", model=REFUSES)
    for response_format, paths in ((format_, ("response_format",)), ({"type": "text"}, ()), (None, ())):
        asked = {**request, "response_format": response_format}
        assert ignored(asked, forced_tool_fallback="structured_output") == paths


# Allowed tools


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]}}


@pytest.mark.parametrize(("mode", "type_"), [("auto", "auto"), ("required", "any")])
def test_allowed_tools_leave_the_tools_unchanged(mode: str, type_: str) -> None:
    request = with_tools(function("f"), function("g"), function("h"), tool_choice=allowed(mode, "f", "g"))
    assert len(sent(request)["tools"]) == 3
    assert sent(request)["tool_choice"] == {"type": type_}
    assert last_text(request) == "system: Of the tools, call only these: `f`, `g`."
    assert adjusted(request) == {"tool_choice.allowed_tools": "instruction"}


def test_allowing_every_tool_needs_no_words() -> None:
    request = with_tools(function("f"), tool_choice=allowed("auto", "f"))
    assert len(sent(request)["messages"]) == 1
    assert adjusted(request) == {}


def test_allowed_tools_can_cut_the_list() -> None:
    request = with_tools(function("f"), function("g"), tool_choice=allowed("required", "g"))
    body = sent(request, allowed_tools="filter")
    assert ([tool["name"] for tool in body["tools"]], body["tool_choice"]) == (["g"], {"type": "any"})
    assert adjusted(request, allowed_tools="filter") == {}


def test_an_allowed_tool_must_be_there() -> None:
    request = with_tools(function("f"), tool_choice=allowed("auto", "nope"))
    assert refusal(request).param == "tool_choice"


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_an_empty_list_does_not_allow_every_tool(mode: str) -> None:
    error = refusal(with_tools(function("f"), tool_choice=allowed(mode)))
    assert (error.param, error.code) == ("tool_choice.allowed_tools.tools", "invalid_value")


def test_a_forced_choice_goes_on_to_an_unknown_model() -> None:
    request = {"model": "claude-next-1", "tools": [WEATHER], "tool_choice": "required"}
    assert sent(request)["tool_choice"] == {"type": "any"}

"""What Anthropic refuses although every field has the right type: rules per model, per version, and between fields."""

import pytest

from tests.support.simulator_calls import body, refusal, send, tool
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings

OLD = {"anthropic-version": "2023-06-01"}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "now", "input": {}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "12:00"}]}
NOW = tool("now")


@pytest.fixture(scope="module")
def simulator():
    return Simulator(SimulatorSettings())


def user(*content):
    return {"role": "user", "content": list(content)}


def assistant(*content):
    return {"role": "assistant", "content": list(content)}


def text(words, **fields):
    return {"type": "text", "text": words, **fields}


def marked(words, ttl="5m"):
    return text(words, cache_control={"type": "ephemeral", "ttl": ttl})


def image(data="iVBORw0KGgo=", media_type="image/png"):
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def strict(schema):
    return body(output_config={"format": {"type": "json_schema", "schema": schema}})


REFUSED = {
    # sizes
    "max_tokens above the model's": (
        body(max_tokens=200_000),
        "max_tokens: 200000 > 128000, which is the maximum allowed number of output tokens for claude-opus-5",
    ),
    "max_tokens below zero": (body(max_tokens=-1), "max_tokens: Input should be greater than or equal to 0"),
    # stop sequences, metadata, effort
    "blank stop sequence": (
        body(stop_sequences=["END", " \n"]),
        "stop_sequences: each stop sequence must contain non-whitespace",
    ),
    "an e-mail as user": (
        body(metadata={"user_id": "me@example.com"}),
        "metadata.user_id: user_id appears to contain an email address",
    ),
    "effort of a model without": (
        body(model="claude-haiku-4-5", output_config={"effort": "low"}),
        "This model does not support the effort parameter.",
    ),
    "effort level the model lacks": (
        body(model="claude-sonnet-4-6", output_config={"effort": "xhigh"}),
        "output_config.effort: This model does not support effort level 'xhigh'. Supported levels: low, medium, high,"
        " max.",
    ),
    "fast speed without its beta": (body(speed="fast"), "speed: Extra inputs are not permitted"),
    # sampling
    "temperature since 2026-10-21": (
        body(model="claude-sonnet-4-6", temperature=0.5),
        "temperature: Extra inputs are not permitted",
    ),
    "default top_p since 2026-10-21": (body(top_p=1), "top_p: Extra inputs are not permitted"),
    # thinking
    "enabled on an adaptive model": (
        body(max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000}),
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and'
        ' "output_config.effort" to control thinking behavior.',
    ),
    "adaptive on an older model": (
        body(model="claude-haiku-4-5", thinking={"type": "adaptive"}),
        "adaptive thinking is not supported on this model",
    ),
    "disabled on an always-on model": (
        body(model="claude-opus-5-5", thinking={"type": "disabled"}),
        '"thinking.type.disabled" is not supported for this model. Supported: adaptive.',
    ),
    "disabled above the highest effort": (
        body(thinking={"type": "disabled"}, output_config={"effort": "max"}),
        '"thinking.type.disabled" is not supported with effort "max"; it goes up to "high".',
    ),
    "between_tools above the highest effort": (
        body(model="claude-sonnet-5-5", thinking={"type": "between_tools"}, output_config={"effort": "xhigh"}),
        '"thinking.type.between_tools" is not supported with effort "xhigh"; it goes up to "high".',
    ),
    "too small a budget": (
        body(model="claude-haiku-4-5", max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 1000}),
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    ),
    "a budget of all of max_tokens": (
        body(model="claude-haiku-4-5", max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 2000}),
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
    ),
    "block_binding without its beta": (
        body(thinking={"type": "adaptive", "block_binding": {}}),
        "thinking.adaptive.block_binding: Extra inputs are not permitted",
    ),
    # tools
    "forced tool on a model that refuses": (
        body(model="claude-opus-5-5", tools=[NOW], tool_choice={"type": "any"}),
        'tool_choice: type "tool" and "any" are not supported for this model.',
    ),
    "forced tool with enabled thinking": (
        body(
            model="claude-haiku-4-5",
            max_tokens=4000,
            tools=[NOW],
            tool_choice={"type": "any"},
            thinking={"type": "enabled", "budget_tokens": 2000},
        ),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    "a choice without tools": (
        body(tool_choice={"type": "auto"}),
        "tool_choice: tool_choice may only be specified while providing tools.",
    ),
    "a choice that is not among the tools": (
        body(tools=[NOW], tool_choice={"type": "tool", "name": "later"}),
        "tool_choice: Tool 'later' not found in provided tools",
    ),
    "the same tool twice": (body(tools=[NOW, NOW]), "tools: Tool names must be unique."),
    "a name with a space": (
        body(tools=[tool("get weather")]),
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
    ),
    "a tool without a schema": (body(tools=[{"name": "a"}]), "tools.0.custom.input_schema: Field required"),
    "a schema without a type": (
        body(tools=[tool("a", {"properties": {}})]),
        "tools.0.custom.input_schema.type: Field required",
    ),
    "a schema that is no object": (
        body(tools=[tool("a", {"type": "string"})]),
        "tools.0.custom.input_schema.type: Input should be 'object'",
    ),
    "a union at the top of a schema": (
        body(tools=[tool("a", {"type": "object", "anyOf": []})]),
        "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level",
    ),
    "a schema with an unknown type": (
        body(tools=[tool("a", {"type": "object", "properties": {"b": {"type": "text"}}})]),
        "tools.0.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12.",
    ),
    "a field of another kind of tool": (
        body(tools=[tool("a", max_uses=3)]),
        "tools.0.custom.max_uses: Extra inputs are not permitted",
    ),
    "a server tool under another name": (
        body(tools=[{"type": "web_search_20250305", "name": "search"}]),
        "tools.0.web_search_20250305.name: Input should be 'web_search'",
    ),
    "a location without a type": (
        body(tools=[{"type": "web_search_20250305", "name": "web_search", "user_location": {"city": "Rome"}}]),
        "tools.0.web_search_20250305.user_location.type: Field required",
    ),
    "a strict tool that is not closed": (
        body(tools=[tool("a", strict=True)]),
        "tools.a.input_schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    "too many strict tools": (
        body(
            tools=[
                tool(f"t{number}", {"type": "object", "properties": {}, "additionalProperties": False}, strict=True)
                for number in range(21)
            ]
        ),
        "tools: At most 20 tools may be strict. Found 21.",
    ),
    # structured output
    "a keyword the decoder lacks": (
        strict(
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "additionalProperties": False}
        ),
        "output_config.format.schema.properties.a: For 'integer' type, property minimum is not supported",
    ),
    "an open object": (
        strict({"type": "object", "properties": {}}),
        "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    "many items at least": (
        strict({"type": "array", "items": {"type": "string"}, "minItems": 2}),
        "output_config.format.schema: For 'array' type, 'minItems' values other than 0 or 1 are not supported",
    ),
    # conversation
    "no message": (
        {"model": "claude-opus-5", "max_tokens": 9, "messages": []},
        "messages: at least one message is required",
    ),
    "the assistant first": (
        body(assistant(text("Hi")), "Hello"),
        'messages: first message must use the "user" role',
    ),
    "an empty text block": (body(user(text(""))), "messages: text content blocks must be non-empty"),
    "a blank text block": (body(user(text("  \n"))), "messages: text content blocks must contain non-whitespace text"),
    "an empty system block": (body(system=[text("")]), "system: text content blocks must be non-empty"),
    "an empty message in the middle": (
        body("a", {"role": "assistant", "content": ""}, "b"),
        "messages.1: all messages must have non-empty content except for the optional final assistant message",
    ),
    "prefill": (
        body("a", {"role": "assistant", "content": "The answer is"}),
        "This model does not support assistant message prefill. The conversation must end with a user message.",
    ),
    "prefill that ends in a space": (
        body("a", {"role": "assistant", "content": "The answer is "}, model="claude-haiku-4-5"),
        "messages: final assistant content cannot end with trailing whitespace",
    ),
    "a call by the user": (
        body(user({"type": "tool_use", "id": "t", "name": "n", "input": {}})),
        "messages.0.content.0: `tool_use` blocks can only be in `assistant` messages",
    ),
    "an image by the assistant": (
        body("a", assistant(image()), "b"),
        "messages.1.content.0: `image` blocks can only be in `user` messages",
    ),
    "a document by the assistant": (
        body(
            "a",
            assistant({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}),
            "b",
        ),
        "messages.1.content.0: `document` blocks are not permitted in `assistant` messages",
    ),
    "citations in the user's text": (
        body(user(text("a", citations=[{"type": "char_location"}]))),
        "messages.0.content.0.text.citations: Extra inputs are not permitted",
    ),
    "a system message on a model without": (
        body("a", {"role": "system", "content": "b"}, model="claude-sonnet-5"),
        'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" as'
        " an input message role.",
    ),
    "a system message before the user's": (
        body("a", assistant(text("b")), {"role": "system", "content": "c"}, "d"),
        'messages.2: "system" messages must come right after a "user" message and before an "assistant" message or the'
        " end.",
    ),
    # calls and results
    "a call without a result": (
        body("a", CALL, "b", tools=[NOW]),
        "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1. Each `tool_use`"
        " block must have a corresponding `tool_result` block in the next message.",
    ),
    "a result after a text": (
        body("a", CALL, user(text("here"), *RESULT["content"]), tools=[NOW]),
        "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1. Each `tool_use`"
        " block must have a corresponding `tool_result` block in the next message.",
    ),
    "a result without a call": (
        body("a", assistant(text("b")), RESULT),
        "messages.2.content.0: unexpected `tool_use_id` found in `tool_result` blocks: t1. Each `tool_result` block"
        " must have a corresponding `tool_use` block in the previous message.",
    ),
    "two results of a call": (
        body("a", CALL, user(*RESULT["content"], *RESULT["content"])),
        "messages.2.content.1: each tool_use must have a single result. Found multiple `tool_result` blocks with id:"
        " t1",
    ),
    "the same id twice": (body("a", CALL, RESULT, CALL, RESULT), "messages: `tool_use` ids must be unique"),
    "an id with a dot": (
        body("a", assistant({"type": "tool_use", "id": "t.1", "name": "n", "input": {}}), RESULT),
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    # media
    "an image that is another kind": (
        body(user(image(media_type="image/jpeg"))),
        "messages.0.content.0.image.source.base64.data: Image does not match the provided media type image/jpeg",
    ),
    "an image kind Claude cannot read": (
        body(user(image(media_type="image/bmp"))),
        "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or"
        " 'image/webp'",
    ),
    "bad base64": (
        body(user(image(data="***"))),
        "messages.0.content.0.image.source.base64.data: Invalid base64 data",
    ),
    "a PDF that is none": (
        body(user({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}})),
        "messages.0.content.0.document.source.base64.data: The PDF specified was not valid.",
    ),
    "a file URL": (
        body(user({"type": "image", "source": {"type": "url", "url": "file:///x"}})),
        "messages.0.content.0.image.source.url.url: Only HTTP and HTTPS URLs are supported.",
    ),
    "too many images for a small model": (
        body(user(*[image()] * 101), model="claude-haiku-4-5"),
        "messages: Too many images: 101 > 100 maximum",
    ),
    # caching
    "five breakpoints": (
        body(user(*[marked("a")] * 4), cache_control={"type": "ephemeral"}),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "an hour after five minutes": (
        body(user(marked("a"), marked("b", "1h"))),
        "messages.0.content.1.cache_control.ephemeral.ttl: a ttl='1h' cache_control block must not come after a"
        " ttl='5m' cache_control block. Note that blocks are processed in the following order: `tools`, `system`,"
        " `messages`.",
    ),
}


@pytest.mark.parametrize(("payload", "expected"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused(simulator, payload, expected):
    assert refusal(simulator, payload) == expected


OLD_VERSION_REFUSED = {
    "temperature on 4.7": (
        body(model="claude-opus-4-7", temperature=0.5),
        "`temperature` may only be set to its default value for this model.",
    ),
    "temperature out of range": (body(model="claude-sonnet-4-6", temperature=1.5), "temperature: range: 0..1"),
    "temperature and top_p": (
        body(model="claude-sonnet-4-6", temperature=1, top_p=0.9),
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
    ),
    "temperature with thinking": (
        body(model="claude-sonnet-4-6", temperature=0.5, thinking={"type": "adaptive"}),
        "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.",
    ),
}


@pytest.mark.parametrize(("payload", "expected"), OLD_VERSION_REFUSED.values(), ids=OLD_VERSION_REFUSED)
def test_the_old_version_refuses(simulator, payload, expected):
    assert refusal(simulator, payload, headers=OLD) == expected


ACCEPTED = {
    "sampling on 4.6 with the old version": (body(model="claude-sonnet-4-6", temperature=0.5, top_k=3), OLD),
    "default temperature on 4.7 with the old version": (body(model="claude-opus-4-7", temperature=1), OLD),
    "a document by the assistant with the old version": (
        body(
            "a",
            assistant({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}),
            "b",
        ),
        OLD,
    ),
    "max_tokens zero": (body(max_tokens=0), {}),
    "prefill on 4.5": (body("a", {"role": "assistant", "content": "The"}, model="claude-haiku-4-5"), {}),
    "enabled thinking on 4.5": (
        body(model="claude-haiku-4-5", max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000}),
        {},
    ),
    "disabled thinking at high effort": (body(thinking={"type": "disabled"}, output_config={"effort": "high"}), {}),
    "a forced tool": (body(tools=[NOW], tool_choice={"type": "tool", "name": "now"}), {}),
    "results in several messages of one turn": (
        body(
            "a",
            assistant(
                {"type": "tool_use", "id": "a1", "name": "now", "input": {}},
                {"type": "tool_use", "id": "a2", "name": "now", "input": {}},
            ),
            user({"type": "tool_result", "tool_use_id": "a1"}),
            user({"type": "tool_result", "tool_use_id": "a2", "content": [text("x"), image()]}),
            "go on",
        ),
        {},
    ),
    "a system message after tool results": (body("a", CALL, RESULT, {"role": "system", "content": "b"}), {}),
    "a paused turn sent back": (
        body(
            "search",
            assistant({"type": "server_tool_use", "id": "srv1", "name": "web_search", "input": {"query": "x"}}),
            tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}],
        ),
        {},
    ),
    "an hour before five minutes": (body(user(marked("b")), system=[marked("a", "1h")]), {}),
    "fast speed with its beta": (body(speed="fast"), {"anthropic-beta": "fast-mode-2026-02-01"}),
    "a strict tool that is closed": (
        body(tools=[tool("a", {"type": "object", "properties": {}, "additionalProperties": False}, strict=True)]),
        {},
    ),
}


@pytest.mark.parametrize(("payload", "headers"), ACCEPTED.values(), ids=ACCEPTED)
def test_it_is_accepted(simulator, payload, headers):
    reply = send(simulator, payload, headers=headers)
    assert reply.status == 200, reply.parts


def test_a_prompt_beyond_the_context_is_refused_with_its_length(simulator):
    long = body("word " * 180_000, model="claude-haiku-4-5")
    assert refusal(simulator, long) == "prompt is too long: 225004 tokens > 200000 maximum"


def test_count_tokens_checks_the_same_rules(simulator):
    payload = body(model="claude-opus-5-5", tools=[NOW], tool_choice={"type": "any"})
    del payload["max_tokens"]
    text_ = refusal(simulator, payload, path="/v1/messages/count_tokens")
    assert text_ == 'tool_choice: type "tool" and "any" are not supported for this model.'


def test_without_validation_nothing_is_refused():
    loose = Simulator(SimulatorSettings(validate=False))
    payload = body("a", CALL, foo=1, temperature=7, tools=[NOW])
    assert send(loose, payload, headers={"anthropic-version": None}).status == 200

"""Tools and tool choice (``spec/chat-completions.md`` section 3).

Schemas are forwarded as they are, except for strict tools, whose schemas take the form that Anthropic enforces. Some
models refuse a forced tool choice; what happens then is the setting ``forced_tool_fallback``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from app.domain.models import ModelFacts
from app.errors import InvalidRequest
from app.schemas import anthropic
from app.schemas import openai_chat as openai
from app.translate import json_schema
from app.translate.notes import Notes
from app.translate.prompt_caching import CacheMarkers
from app.translate.raw import given_bytes
from app.translate.settings import TranslationSettings
from app.translate.turns import bad_tool_name, is_tool_name

#: Anthropic's bounds on strict schemas, of a whole request.
MAX_STRICT_TOOLS: Final = 20
MAX_OPTIONAL_PROPERTIES: Final = 24
MAX_UNIONS: Final = 16

_NO_PARAMETERS: Final = Raw(b'{"type":"object","properties":{}}')
_CUSTOM_INPUT: Final = Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}'
)
_OBJECT_STARTS: Final = (b'{"type":"object"', b'{"type": "object"')
_MAX_SEARCHES: Final = {"low": 3, "medium": 5, "high": 10}


class _SchemaRoot(Struct):
    """As much of a schema as has to be known to forward it."""

    type: Raw | UnsetType = UNSET


_ROOT: Final = msgspec.json.Decoder(_SchemaRoot)


class ToolPlan(Struct, kw_only=True):
    """What is sent about tools.

    Args:
        tools: empty when the request has none.
        choice: Anthropic's ``tool_choice``.
        instructions: texts that stand for what the model's tool choice cannot express.
        custom_names: names of tools declared as ``custom``.
        structured_tool: this tool's schema is the format of the answer, which is then returned as a call of it.
        structured_schema: that schema.
        expects_call: a call was forced, and the model could only be told so.
        has_web_search: Anthropic runs web search.
        is_legacy: the client used ``functions``.
    """

    tools: list[anthropic.Tool | anthropic.WebSearchTool]
    choice: anthropic.ToolChoice | UnsetType = UNSET
    instructions: tuple[str, ...] = ()
    custom_names: frozenset[str] = frozenset()
    structured_tool: str = ""
    structured_schema: Raw | UnsetType = UNSET
    expects_call: bool = False
    has_web_search: bool = False
    is_legacy: bool = False

    @property
    def forces_call(self) -> bool:
        """Whether Anthropic is asked to force a call."""
        return self.choice is not UNSET and self.choice.type in ("any", "tool")


class _Choice(Struct, frozen=True):
    """A tool choice of either generation in one form."""

    mode: Literal["auto", "none", "required", "named"]
    name: str = ""
    allowed: tuple[str, ...] = ()
    path: str = "tool_choice"


def plan_tools(
    request: openai.ChatRequest,
    facts: ModelFacts,
    settings: TranslationSettings,
    markers: CacheMarkers,
    notes: Notes,
) -> ToolPlan:
    """Translates the tools and the choice among them.

    Raises:
        InvalidRequest: a tool or the choice cannot be served.
    """
    plan = ToolPlan(tools=[])
    if request.tools:
        plan.custom_names = frozenset(t.custom.name for t in request.tools if isinstance(t, openai.CustomTool))
        plan.tools.extend(_tools(request.tools, facts, markers, notes))
        _without_effect(request, notes)
    elif request.functions:
        plan.is_legacy = True
        wrapped = [openai.FunctionTool(function=function) for function in request.functions]
        plan.tools.extend(_tools(wrapped, facts, markers, notes, legacy=True))
    if request.web_search_options is not None:
        plan.has_web_search = True
        plan.tools.append(_web_search(request.web_search_options))
    _check_names(plan)
    _choose(plan, _choice(request, plan, notes), facts, settings, notes)
    if plan.is_legacy or request.parallel_tool_calls is False:
        _one_call_at_a_time(plan, request, notes)
    return plan


def add_stubs(plan: ToolPlan, called: Iterable[str]) -> None:
    """Adds tools known by name only: for a history with calls whose request declares no tools of the client's.

    Args:
        plan: of the request; where Anthropic runs no tool either, nothing may be called.
        called: names of the tools in the history.
    """
    if not all(isinstance(tool, anthropic.WebSearchTool) for tool in plan.tools):
        return
    declared = {tool.name for tool in plan.tools}
    stubs = [anthropic.Tool(name=name, input_schema=_NO_PARAMETERS) for name in called if name not in declared]
    if stubs and not declared:
        plan.choice = anthropic.ToolChoice("none")
    plan.tools.extend(stubs)


def _without_effect(request: openai.ChatRequest, notes: Notes) -> None:
    for name in ("functions", "function_call"):
        if getattr(request, name):
            notes.ignore(name, "tools and tool_choice replace it")


def _tools(
    tools: Sequence[openai.FunctionTool | openai.CustomTool],
    facts: ModelFacts,
    markers: CacheMarkers,
    notes: Notes,
    *,
    legacy: bool = False,
) -> list[anthropic.Tool]:
    strict = _StrictTools(facts, notes)
    translated = []
    for index, tool in enumerate(tools):
        if isinstance(tool, openai.FunctionTool):
            path = f"functions[{index}]" if legacy else f"tools[{index}].function"
            one = _function(tool.function, path, strict)
            control = tool.cache_control or tool.function.cache_control
        else:
            path = f"tools[{index}].custom"
            one = _custom(tool.custom, path, notes)
            control = tool.cache_control
        if control is not None:
            markers.mark_tool(control, one, path)
        translated.append(one)
    return translated


def _function(function: openai.FunctionDefinition, path: str, strict: _StrictTools) -> anthropic.Tool:
    if not is_tool_name(function.name):
        raise bad_tool_name(f"{path}.name")
    schema = _input_schema(function.parameters, f"{path}.parameters")
    enforced = strict.schema_of(schema, path) if function.strict else None
    return anthropic.Tool(
        name=function.name,
        description=function.description or UNSET,
        input_schema=enforced or schema,
        strict=True if enforced else UNSET,
    )


class _StrictTools:
    """Gives strict tools their form, as long as the request stays within Anthropic's bounds."""

    def __init__(self, facts: ModelFacts, notes: Notes) -> None:
        self._supported = facts.structured_outputs
        self._notes = notes
        self._tools = self._optional = self._unions = 0

    def schema_of(self, schema: Raw, path: str) -> Raw | None:
        """The enforced form of a schema; None, with a note, when this tool cannot be strict."""
        if not self._supported:
            return self._loose(path, "the model does not enforce schemas")
        try:
            transformed = json_schema.transform(bytes(schema))
        except ValueError as error:
            return self._loose(path, str(error))
        optional = self._optional + transformed.optional_count
        unions = self._unions + transformed.union_count
        if self._tools == MAX_STRICT_TOOLS or optional > MAX_OPTIONAL_PROPERTIES or unions > MAX_UNIONS:
            return self._loose(
                path,
                f"a request has at most {MAX_STRICT_TOOLS} strict tools with {MAX_OPTIONAL_PROPERTIES} optional"
                f" properties and {MAX_UNIONS} unions in all",
            )
        self._tools, self._optional, self._unions = self._tools + 1, optional, unions
        return Raw(transformed.json)

    def _loose(self, path: str, reason: str) -> Raw | None:
        self._notes.adjust(f"{path}.strict", "false", reason)
        return None


def _custom(custom: openai.CustomDefinition, path: str, notes: Notes) -> anthropic.Tool:
    if not is_tool_name(custom.name):
        raise bad_tool_name(f"{path}.name")
    description = custom.description or ""
    if isinstance(custom.format, openai.GrammarFormat):
        grammar = custom.format.grammar
        words = f"The input must follow this {grammar.syntax} grammar:\n{grammar.definition}"
        description = f"{description}\n\n{words}" if description else words
        notes.adjust(f"{path}.format", "description", "Claude is told the grammar, which is not enforced")
    return anthropic.Tool(name=custom.name, description=description or UNSET, input_schema=_CUSTOM_INPUT)


def _input_schema(parameters: Raw | UnsetType, path: str) -> Raw:
    """A schema to forward: an object's, with its type said."""
    schema = given_bytes(parameters)
    if not schema:
        return _NO_PARAMETERS
    if schema.startswith(_OBJECT_STARTS):
        return Raw(schema)
    try:
        root = _ROOT.decode(schema)
    except msgspec.ValidationError:
        raise InvalidRequest(
            f"Invalid type for '{path}': expected a JSON schema, which is an object.", param=path, code="invalid_type"
        ) from None
    if root.type is UNSET:
        rest = schema[1:].lstrip()
        return Raw(b'{"type":"object"' + (b"" if rest.startswith(b"}") else b",") + rest)
    if bytes(root.type) != b'"object"':
        raise InvalidRequest(
            f"Invalid schema for '{path}': its type must be 'object'.", param=f"{path}.type", code="invalid_value"
        )
    return Raw(schema)


def _web_search(options: openai.WebSearchOptions) -> anthropic.WebSearchTool:
    location: anthropic.WebSearchLocation | UnsetType = UNSET
    if options.user_location is not None:
        place = options.user_location.approximate
        location = anthropic.WebSearchLocation(
            place.city or UNSET, place.country or UNSET, place.region or UNSET, place.timezone or UNSET
        )
    max_uses = _MAX_SEARCHES[options.search_context_size or "medium"]
    return anthropic.WebSearchTool(max_uses=max_uses, user_location=location)


def _check_names(plan: ToolPlan) -> None:
    seen: set[str] = set()
    for index, tool in enumerate(plan.tools):
        if tool.name in seen:
            param = "web_search_options" if isinstance(tool, anthropic.WebSearchTool) else f"tools[{index}]"
            raise InvalidRequest(f"There are two tools named '{tool.name}'.", param=param, code="invalid_value")
        seen.add(tool.name)


def _choice(request: openai.ChatRequest, plan: ToolPlan, notes: Notes) -> _Choice | None:
    """The choice that counts: without ``tools`` the legacy ``function_call`` first, where both are given.

    Raises:
        InvalidRequest: it names a tool that the request does not have, or allows none.
    """
    choice, call = request.tool_choice, request.function_call
    if call is not None and not request.tools:
        if choice is not None:
            notes.ignore("tool_choice", "function_call wins over it")
        if isinstance(call, str):
            return _Choice(call, path="function_call")
        return _Choice(
            "named", _name_of(openai.NamedFunction(function=call), plan, "function_call"), path="function_call"
        )
    if choice is None or isinstance(choice, str):
        return None if choice is None else _Choice(choice)
    if not isinstance(choice, openai.AllowedTools):
        return _Choice("named", _name_of(choice, plan, "tool_choice"))
    allowed = choice.allowed_tools
    if not allowed.tools:
        raise InvalidRequest(
            "An empty list allows no tool; say that with tool_choice 'none'.",
            param="tool_choice.allowed_tools.tools",
            code="invalid_value",
        )
    return _Choice(allowed.mode, allowed=tuple(_name_of(tool, plan, "tool_choice") for tool in allowed.tools))


def _name_of(tool: openai.NamedFunction | openai.NamedCustom, plan: ToolPlan, path: str) -> str:
    """The name of a tool, which the request must have, and as this type."""
    is_custom = isinstance(tool, openai.NamedCustom)
    name = tool.custom.name if isinstance(tool, openai.NamedCustom) else tool.function.name
    if name not in {tool.name for tool in plan.tools} or is_custom != (name in plan.custom_names):
        kind = "custom tool" if is_custom else "function"
        raise InvalidRequest(
            f"'{path}' names the {kind} '{name[:64]}', which the request does not have.",
            param=path,
            code="invalid_value",
        )
    return name


def _choose(
    plan: ToolPlan, choice: _Choice | None, facts: ModelFacts, settings: TranslationSettings, notes: Notes
) -> None:
    if choice is None:
        return
    if not plan.tools:
        if choice.mode == "required":
            raise InvalidRequest(
                f"'{choice.path}' can only be 'required' when tools are given.", param=choice.path, code="invalid_value"
            )
        return
    if choice.allowed:
        choice = _allow(plan, choice, settings, notes)
    if choice.mode in ("auto", "none"):
        plan.choice = anthropic.ToolChoice("none" if choice.mode == "none" else "auto")
    elif facts.forced_tool_choice:
        named = choice.mode == "named"
        plan.choice = anthropic.ToolChoice("tool", choice.name) if named else anthropic.ToolChoice("any")
    else:
        _stand_in(plan, choice, facts, settings, notes)


def _allow(plan: ToolPlan, choice: _Choice, settings: TranslationSettings, notes: Notes) -> _Choice:
    """``allowed_tools``: an instruction leaves the tools, and so the prompt cache, unchanged; ``filter`` is exact."""
    if settings.allowed_tools == "filter":
        plan.tools = [tool for tool in plan.tools if tool.name in choice.allowed]
    elif {tool.name for tool in plan.tools} - set(choice.allowed):
        listed = ", ".join(f"`{name}`" for name in choice.allowed)
        plan.instructions += (f"Of the tools, call only these: {listed}.",)
        notes.adjust(f"{choice.path}.allowed_tools", "instruction", "Claude is told which tools it may call")
    return _Choice(choice.mode, path=choice.path)


def _stand_in(plan: ToolPlan, choice: _Choice, facts: ModelFacts, settings: TranslationSettings, notes: Notes) -> None:
    """A forced choice on a model that refuses it."""
    reason = f"{facts.id} does not take a forced tool choice"
    if settings.forced_tool_fallback == "error":
        raise InvalidRequest(f"{reason}. Use 'auto'.", param=choice.path, code="unsupported_value")
    if settings.forced_tool_fallback == "structured_output":
        schema = _schema_of(plan, choice)
        if schema is not None:
            plan.structured_tool, plan.structured_schema = choice.name or plan.tools[0].name, schema
            plan.choice = anthropic.ToolChoice("none")
            notes.adjust(choice.path, "structured_output", reason)
            return
    wanted = f"the tool `{choice.name}`" if choice.name else "one or more of the tools"
    plan.instructions += (f"Respond only by calling {wanted}.",)
    plan.choice = anthropic.ToolChoice("auto")
    plan.expects_call = True
    notes.adjust(choice.path, "auto", reason)


def _schema_of(plan: ToolPlan, choice: _Choice) -> Raw | None:
    """The schema of the only tool that may be called, in enforced form; None when there is no such tool or form."""
    tools = [tool for tool in plan.tools if not choice.name or tool.name == choice.name]
    if len(tools) != 1 or isinstance(tools[0], anthropic.WebSearchTool):
        return None
    if tools[0].strict is True:
        return tools[0].input_schema
    try:
        return Raw(json_schema.transform(bytes(tools[0].input_schema)).json)
    except ValueError:
        return None


def _one_call_at_a_time(plan: ToolPlan, request: openai.ChatRequest, notes: Notes) -> None:
    """Keeps Claude to one call: as the client asks, or because a ``function_call`` has room for one only."""
    if not plan.tools:
        notes.ignore("parallel_tool_calls", "the request has no tools")
        return
    if plan.choice is UNSET:
        plan.choice = anthropic.ToolChoice("auto")
    if plan.choice.type != "none":
        plan.choice.disable_parallel_tool_use = True
    elif request.parallel_tool_calls is False and not plan.structured_tool:
        notes.ignore("parallel_tool_calls", "no tool may be called")
    if plan.is_legacy and request.parallel_tool_calls:
        notes.ignore("parallel_tool_calls", "a function_call has room for one call only")

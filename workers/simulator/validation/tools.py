"""Tool definitions and ``tool_choice``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET

from app.domain.models import ModelFacts
from workers.simulator.errors import Invalid
from workers.simulator.validation.json_schema import check_supported, count_optional, count_unions
from workers.simulator.wire import CountTokensRequest, Tool, ToolChoiceAny, ToolChoiceTool

MAX_STRICT_TOOLS: Final = 20
MAX_STRICT_OPTIONAL: Final = 24
MAX_STRICT_UNIONS: Final = 16

_EXTRA: Final = "Extra inputs are not permitted"
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_COMMON: Final = frozenset({"type", "name", "cache_control", "allowed_callers", "defer_loading", "strict"})
_CUSTOM: Final = _COMMON | {"description", "input_schema", "eager_input_streaming", "input_examples"}
_SEARCH: Final = _COMMON | {"allowed_domains", "blocked_domains", "max_uses", "user_location"}
_FETCH: Final = _COMMON | {
    "allowed_domains",
    "blocked_domains",
    "max_uses",
    "citations",
    "max_content_tokens",
    "url_sources",
}
_TOOLSET: Final = frozenset({"type", "cache_control", "configs"})

#: Type of a tool that Anthropic defines -> its name (None: it has none) and its fields.
_SERVER_TOOLS: Final[Mapping[str, tuple[str | None, frozenset[str]]]] = {
    "web_search_20250305": ("web_search", _SEARCH),
    "web_search_20260209": ("web_search", _SEARCH),
    "web_search_20260318": ("web_search", _SEARCH | {"response_inclusion"}),
    "web_fetch_20250910": ("web_fetch", _FETCH),
    "web_fetch_20260209": ("web_fetch", _FETCH),
    "web_fetch_20260309": ("web_fetch", _FETCH),
    "web_fetch_20260318": ("web_fetch", _FETCH | {"response_inclusion"}),
    "code_execution_20250522": ("code_execution", _COMMON),
    "code_execution_20250825": ("code_execution", _COMMON),
    "code_execution_20260120": ("code_execution", _COMMON),
    "code_execution_20260521": ("code_execution", _COMMON),
    "bash_20250124": ("bash", _COMMON | {"input_examples"}),
    "memory_20250818": ("memory", _COMMON | {"input_examples"}),
    "text_editor_20250124": ("str_replace_editor", _COMMON | {"input_examples"}),
    "text_editor_20250429": ("str_replace_based_edit_tool", _COMMON | {"input_examples"}),
    "text_editor_20250728": ("str_replace_based_edit_tool", _COMMON | {"input_examples", "max_characters"}),
    "tool_search_tool_bm25_20251119": ("tool_search_tool_bm25", _COMMON),
    "tool_search_tool_bm25": ("tool_search_tool_bm25", _COMMON),
    "tool_search_tool_regex_20251119": ("tool_search_tool_regex", _COMMON),
    "tool_search_tool_regex": ("tool_search_tool_regex", _COMMON),
    "browser_toolset_20260801": (None, _TOOLSET),
    "computer_toolset_20260801": (None, _TOOLSET),
}

_JSON_TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})


def check_tools(request: CountTokensRequest, facts: ModelFacts) -> None:
    """Checks every tool and the choice among them.

    Raises:
        Invalid: names the tool.
    """
    tools = request.tools or []
    names: set[str] = set()
    for index, tool in enumerate(tools):
        name = _check_custom(tool, index) if tool.is_custom else _check_server_tool(tool, index)
        if name is None:
            continue
        if name in names:
            raise Invalid("Tool names must be unique.", "tools")
        names.add(name)
    _check_strict([tool for tool in tools if tool.strict is True and tool.is_custom])
    choice = request.tool_choice
    if choice is UNSET:
        return
    if not tools:
        raise Invalid("tool_choice may only be specified while providing tools.", "tool_choice")
    if isinstance(choice, (ToolChoiceAny, ToolChoiceTool)) and not facts.forced_tool_choice:
        raise Invalid('type "tool" and "any" are not supported for this model.', "tool_choice")
    if isinstance(choice, ToolChoiceTool) and choice.name not in names:
        raise Invalid(f"Tool '{choice.name}' not found in provided tools", "tool_choice")


def _given(tool: Tool) -> set[str]:
    return {name for name in tool.__struct_fields__ if getattr(tool, name) not in (UNSET, None)}


def _check_custom(tool: Tool, index: int) -> str:
    path = f"tools.{index}.custom"
    if tool.name is UNSET:
        raise Invalid("Field required", f"{path}.name")
    if tool.input_schema is UNSET:
        raise Invalid("Field required", f"{path}.input_schema")
    extra = sorted(_given(tool) - _CUSTOM)
    if extra:
        raise Invalid(_EXTRA, f"{path}.{extra[0]}")
    if not _NAME.fullmatch(tool.name):
        raise Invalid("String should match pattern '^[a-zA-Z0-9_-]{1,64}$'", f"{path}.name")
    schema = tool.input_schema
    if "type" not in schema:
        raise Invalid("Field required", f"{path}.input_schema.type")
    if schema["type"] != "object":
        raise Invalid("Input should be 'object'", f"{path}.input_schema.type")
    if {"oneOf", "allOf", "anyOf"} & set(schema):
        raise Invalid("input_schema does not support oneOf, allOf, or anyOf at the top level", f"{path}.input_schema")
    if not _is_schema(schema):
        raise Invalid("JSON schema is invalid. It must match JSON Schema draft 2020-12.", f"{path}.input_schema")
    return tool.name


def _is_schema(schema: Any) -> bool:
    """Whether the keywords the simulator looks at have values of the right kind."""
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, Mapping):
        return False
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if any(not isinstance(kind, str) or kind not in _JSON_TYPES for kind in kinds):
        return False
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        return False
    properties = schema.get("properties") or {}
    if not isinstance(properties, Mapping) or not all(_is_schema(part) for part in properties.values()):
        return False
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        branches = schema.get(key, [])
        if not isinstance(branches, list) or not all(_is_schema(part) for part in branches):
            return False
    return _is_schema(schema.get("items", True))


def _check_server_tool(tool: Tool, index: int) -> str | None:
    known = _SERVER_TOOLS.get(tool.type or "")
    if known is None:
        raise Invalid(
            f"Input tag '{tool.type}' found using 'type' does not match any of the expected tags:"
            f" 'custom', {', '.join(repr(name) for name in _SERVER_TOOLS)}",
            f"tools.{index}",
        )
    name, fields = known
    path = f"tools.{index}.{tool.type}"
    extra = sorted(_given(tool) - fields)
    if extra:
        raise Invalid(_EXTRA, f"{path}.{extra[0]}")
    if name is not None and tool.name is UNSET:
        raise Invalid("Field required", f"{path}.name")
    if name is not None and tool.name != name:
        raise Invalid(f"Input should be '{name}'", f"{path}.name")
    if isinstance(tool.max_uses, int) and tool.max_uses < 1:
        raise Invalid("Input should be greater than 0", f"{path}.max_uses")
    if tool.allowed_domains and tool.blocked_domains:
        raise Invalid("Only one of allowed_domains and blocked_domains may be given.", path)
    location = tool.user_location
    if isinstance(location, Mapping):
        _check_location(location, f"{path}.user_location")
    return name


def _check_location(location: Mapping[str, Any], path: str) -> None:
    if "type" not in location:
        raise Invalid("Field required", f"{path}.type")
    if location["type"] != "approximate":
        raise Invalid("Input should be 'approximate'", f"{path}.type")
    extra = sorted(set(location) - {"type", "city", "country", "region", "timezone"})
    if extra:
        raise Invalid(_EXTRA, f"{path}.{extra[0]}")
    for name, value in location.items():
        if value is not None and not isinstance(value, str):
            raise Invalid("Input should be a valid string", f"{path}.{name}")


def _check_strict(tools: list[Tool]) -> None:
    """Limits of strict tools: how many, and how complicated together."""
    if len(tools) > MAX_STRICT_TOOLS:
        raise Invalid(f"At most {MAX_STRICT_TOOLS} tools may be strict. Found {len(tools)}.", "tools")
    schemas = [tool.input_schema for tool in tools if tool.input_schema is not UNSET]
    for tool, schema in zip(tools, schemas, strict=True):
        check_supported(schema, f"tools.{tool.name}.input_schema")
    optional = sum(count_optional(schema) for schema in schemas)
    if optional > MAX_STRICT_OPTIONAL:
        raise Invalid(
            f"Schemas contain too many optional parameters ({optional}), limit: {MAX_STRICT_OPTIONAL}.", "tools"
        )
    unions = sum(count_unions(schema) for schema in schemas)
    if unions > MAX_STRICT_UNIONS:
        raise Invalid(
            f"Schemas contain too many parameters with union types ({unions}), limit: {MAX_STRICT_UNIONS}.", "tools"
        )

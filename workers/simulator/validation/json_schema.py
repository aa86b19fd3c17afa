"""Which JSON schemas structured outputs and strict tools accept; limits as the SDK's ``transform_schema`` has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from workers.simulator.errors import Invalid

_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_ANYWHERE: Final = frozenset(
    {"type", "description", "title", "enum", "const", "anyOf", "allOf", "$ref", "$defs", "default"}
)
_BY_TYPE: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems"}),
    "string": frozenset({"format"}),
    "integer": frozenset(),
    "number": frozenset(),
    "boolean": frozenset(),
    "null": frozenset(),
}


def check_supported(schema: Mapping[str, Any], path: str) -> None:
    """Refuses a schema that the constrained decoder cannot follow.

    Raises:
        Invalid: with the keyword and the path of the field that holds the schema.
    """
    for name, part in (schema.get("$defs") or {}).items():
        _check(part, f"{path}.$defs.{name}")
    _check(schema, path)


def _check(schema: Any, path: str) -> None:
    if not isinstance(schema, Mapping):
        raise Invalid("Boolean schemas are not supported.", path)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    unknown = [kind for kind in kinds if kind not in _BY_TYPE]
    if unknown:
        raise Invalid(f"'{unknown[0]}' is not a type.", path)
    if not kinds and not _ANYWHERE & set(schema) - {"type", "description", "title", "default"}:
        raise Invalid("Schema type is required.", path)
    allowed = _ANYWHERE.union(*(_BY_TYPE[kind] for kind in kinds))
    extra = sorted(set(schema) - allowed)
    if extra:
        kind = kinds[0] if kinds else "any"
        raise Invalid(
            f"For '{kind}' type, {'property' if len(extra) == 1 else 'properties'} {', '.join(extra)}"
            f" {'is' if len(extra) == 1 else 'are'} not supported",
            path,
        )
    if "object" in kinds and schema.get("additionalProperties") is not False:
        raise Invalid("For 'object' type, 'additionalProperties' must be explicitly set to false", path)
    if schema.get("format") is not None and schema["format"] not in _FORMATS:
        raise Invalid(f"For 'string' type, format '{schema['format']}' is not supported", path)
    if schema.get("minItems", 0) not in (0, 1):
        raise Invalid("For 'array' type, 'minItems' values other than 0 or 1 are not supported", path)
    for name, part in (schema.get("properties") or {}).items():
        _check(part, f"{path}.properties.{name}")
    for key in ("anyOf", "allOf"):
        for index, part in enumerate(schema.get(key) or ()):
            _check(part, f"{path}.{key}.{index}")
    if "items" in schema:
        _check(schema["items"], f"{path}.items")


def count_optional(schema: Any) -> int:
    """Properties that are not required, at every level."""
    if not isinstance(schema, Mapping):
        return 0
    properties = schema.get("properties") or {}
    here = len(set(properties) - set(schema.get("required") or ()))
    return here + sum(count_optional(part) for part in _parts(schema))


def count_unions(schema: Any) -> int:
    """``anyOf`` and lists of types, at every level."""
    if not isinstance(schema, Mapping):
        return 0
    here = int("anyOf" in schema) + int(isinstance(schema.get("type"), list))
    return here + sum(count_unions(part) for part in _parts(schema))


def _parts(schema: Mapping[str, Any]) -> list[Any]:
    parts = [*(schema.get("properties") or {}).values(), *(schema.get("$defs") or {}).values()]
    for key in ("anyOf", "allOf"):
        parts += schema.get(key) or []
    return [*parts, schema["items"]] if "items" in schema else parts

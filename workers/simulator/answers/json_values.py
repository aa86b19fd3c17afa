"""Values that satisfy a JSON schema: arguments of tool calls and structured answers.

Covered: type (also as a list), const, enum, properties, required, additionalProperties, minProperties, items,
prefixItems, minItems, uniqueItems, string length, format and pattern, numeric bounds and multipleOf, $ref into $defs
or anywhere in the document (recursive ones end as soon as they may), anyOf, oneOf, allOf. What the schema leaves open
is chosen by a seed, so that different requests get different values.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parse  # type: ignore[attr-defined]
from typing import Any, Final

#: Below this depth optional properties and items are left out, which ends recursive schemas.
_DEEP: Final = 4
_TOO_DEEP: Final = 64

_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-11-23T12:00:00Z",
    "date": "2026-11-23",
    "time": "12:00:00Z",
    "duration": "PT15M",
    "email": "someone@example.com",
    "hostname": "example.com",
    "uri": "https://example.com/page",
    "uri-reference": "/page",
    "uuid": "3f2b8c1e-5d4a-4b6f-9c7d-0a1b2c3d4e5f",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "regex": "^a+$",
    "json-pointer": "/a",
}


class Unsatisfiable(ValueError):
    """No value was found for a schema."""


class Sampler:
    """Makes values for one schema document.

    Args:
        document: the whole schema, for ``$ref``.
        seed: what is left open is chosen by it.
        words: strings to use where the schema allows any.
    """

    def __init__(self, document: Mapping[str, Any], seed: int, words: Sequence[str] = ()) -> None:
        self._document = document
        self._random = random.Random(seed)  # noqa: S311 - deterministic on purpose
        self._words = list(words)

    def value(self) -> Any:
        """A value of the document's root schema.

        Raises:
            Unsatisfiable: the schema allows nothing, or only endlessly deep values.
        """
        return self._value(self._document, "value", 0)

    def _value(self, schema: Any, name: str, depth: int) -> Any:
        if schema is True:
            return self._words[0] if self._words else name
        if schema is False or depth > _TOO_DEEP:
            raise Unsatisfiable(name)
        schema = self._flattened(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._random.choice(schema["enum"])
        for union in ("anyOf", "oneOf"):
            if schema.get(union):
                return self._branch(schema, union, name, depth)
        return self._of_type(schema, self._type(schema, depth), name, depth)

    def _flattened(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """The schema with ``$ref`` followed and ``allOf`` merged in."""
        merged = dict(schema)
        for _ in range(_TOO_DEEP):
            reference = merged.pop("$ref", None)
            branches = merged.pop("allOf", None) or []
            if reference is not None:
                branches = [self._resolve(reference), *branches]
            if not branches:
                return merged
            for branch in branches:
                if isinstance(branch, Mapping):
                    merged = _merge(merged, branch)
        raise Unsatisfiable("a reference that leads to itself")

    def _resolve(self, reference: str) -> Any:
        found: Any = self._document
        for part in reference.removeprefix("#").strip("/").split("/") if reference not in ("#", "#/") else ():
            key = part.replace("~1", "/").replace("~0", "~")
            found = found[int(key)] if isinstance(found, list) else found.get(key, True)
        return found

    def _branch(self, schema: Mapping[str, Any], union: str, name: str, depth: int) -> Any:
        rest = {key: value for key, value in schema.items() if key != union}
        branches = list(schema[union])
        if depth < _DEEP:
            start = self._random.randrange(len(branches))
            branches = branches[start:] + branches[:start]
        else:
            branches.sort(key=_weight)
        for branch in branches:
            try:
                return self._value(_merge(rest, branch) if isinstance(branch, Mapping) else branch, name, depth + 1)
            except (Unsatisfiable, RecursionError):
                continue
        raise Unsatisfiable(name)

    def _type(self, schema: Mapping[str, Any], depth: int) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            real = [entry for entry in kind if entry != "null"]
            return "null" if not real or (depth >= _DEEP and "null" in kind) else str(real[0])
        if kind is not None:
            return str(kind)
        if "properties" in schema or "additionalProperties" in schema:
            return "object"
        if "items" in schema or "prefixItems" in schema:
            return "array"
        if "minimum" in schema or "maximum" in schema:
            return "number"
        return "string"

    def _of_type(self, schema: Mapping[str, Any], kind: str, name: str, depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer":
                return int(self._number(schema, whole=True))
            case "number":
                return self._number(schema, whole=False)
            case "boolean":
                return self._random.random() < 0.5
            case "null":
                return None
            case "string":
                return self._string(schema, name)
        raise Unsatisfiable(f"type {kind}")

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required = list(schema.get("required") or ())
        wanted = required if depth >= _DEEP else [*properties, *(name for name in required if name not in properties)]
        result: dict[str, Any] = {}
        for name in wanted:
            try:
                result[name] = self._value(properties.get(name, True), name, depth + 1)
            except Unsatisfiable:
                if name in required:
                    raise
        extra = schema.get("additionalProperties", True)
        for number in range(len(result), schema.get("minProperties", 0)):
            result[f"extra_{number}"] = self._value(extra, f"extra_{number}", depth + 1)
        return result

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        least = int(schema.get("minItems", 0))
        most = int(schema.get("maxItems", max(least, 3)))
        items = schema.get("items", True)
        values = [self._value(item, name, depth + 1) for item in schema.get("prefixItems", ())]
        values = values[:most] if "maxItems" in schema else values
        count = least if depth >= _DEEP or items is False else min(most, max(least, 1 + self._random.randrange(2)))
        while len(values) < count:
            value = self._value(items, name, depth + 1)
            if schema.get("uniqueItems") and value in values:
                value = self._another(items, values, name, depth)
                if value in values and len(values) >= least:
                    break
                if value in values:
                    raise Unsatisfiable(name)
            values.append(value)
        return values

    def _another(self, items: Any, values: Sequence[Any], name: str, depth: int) -> Any:
        """A value that is not among the given ones, or after many tries one that is."""
        value = None
        for number in range(2, 100):
            value = self._value(items, name, depth + 1)
            if isinstance(value, str) and isinstance(items, Mapping) and set(items) <= {"type", "description", "title"}:
                value = f"{value} {number}"
            if value not in values:
                break
        return value

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> float | int:
        step = schema.get("multipleOf") or (1 if whole else None)
        low, high = schema.get("minimum"), schema.get("maximum")
        above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if above is not None and (low is None or above >= low):
            low = above + (step or _gap(above, high if high is not None else below))
        if below is not None and (high is None or below <= high):
            high = below - (step or _gap(low, below))
        if low is None:
            low = min(1, high) if high is not None else 1
        if high is None:
            high = low + 9
        if step:
            first, last = math.ceil(low / step), math.floor(high / step)
            if first > last:
                raise Unsatisfiable("number")
            value = self._random.randint(first, min(last, first + 9)) * step
            return int(value) if whole else round(value, 12)
        return round(low + (high - low) * self._random.randrange(5) / 4, 6) if high > low else low

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        if "pattern" in schema:
            return _matching(schema["pattern"], self._random)
        text = self._words.pop(0) if self._words else f"{name.replace('_', ' ')} {self._random.randrange(1, 100)}"
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        while len(text) < least:
            text += " simulated"
        return text if most is None else text[: max(int(most), least)]


def _gap(low: float | None, high: float | None) -> float:
    """A step that stays inside an open interval."""
    return (high - low) / 4 if low is not None and high is not None else 0.5


def _weight(branch: Any) -> int:
    """How likely a branch leads deeper: references and objects last."""
    if not isinstance(branch, Mapping):
        return 0
    return 2 * ("$ref" in branch) + (branch.get("type") in ("object", "array")) + 2 * ("anyOf" in branch)


def _merge(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Both schemas at once, as far as that is a matter of putting keywords together."""
    merged = {**left, **right}
    for key in ("properties", "$defs"):
        if key in left and key in right:
            merged[key] = {**left[key], **right[key]}
    if "required" in left and "required" in right:
        merged["required"] = list(dict.fromkeys([*left["required"], *right["required"]]))
    if "enum" in left and "enum" in right:
        merged["enum"] = [value for value in left["enum"] if value in right["enum"]]
    for key, pick in (("minimum", max), ("minLength", max), ("minItems", max), ("maximum", min), ("maxLength", min)):
        if key in left and key in right:
            merged[key] = pick(left[key], right[key])
    return merged


def _matching(pattern: str, chance: random.Random) -> str:
    """A string that a regular expression finds: literals, classes, groups, branches, repeats; anchors say nothing."""
    try:
        text = "".join(_piece(part, chance) for part in sre_parse.parse(pattern))
        if re.search(pattern, text):
            return text
    except (re.error, TypeError, ValueError, KeyError):
        pass
    raise Unsatisfiable(f"pattern {pattern}")


def _piece(part: tuple[Any, Any], chance: random.Random) -> str:
    """Text for one part of a parsed pattern."""
    op, argument = part
    if op is sre.LITERAL:
        return chr(argument)
    if op is sre.NOT_LITERAL:
        return "a" if argument != ord("a") else "b"
    if op is sre.ANY:
        return "x"
    if op is sre.IN:
        return _member(argument, chance)
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        least, most, body = argument
        count = max(least, min(int(most), least + 2, 3))
        return "".join(_piece(inner, chance) for _ in range(count) for inner in body)
    if op is sre.SUBPATTERN:
        return "".join(_piece(inner, chance) for inner in argument[-1])
    if op is sre.BRANCH:
        return "".join(_piece(inner, chance) for inner in chance.choice(argument[1]))
    if op is sre.AT:
        return ""
    raise ValueError(str(op))


_CATEGORIES: Final = {sre.CATEGORY_DIGIT: "7", sre.CATEGORY_WORD: "w", sre.CATEGORY_SPACE: " "}


def _member(members: Sequence[tuple[Any, Any]], chance: random.Random) -> str:
    """One character of a class."""
    if members[0][0] is sre.NEGATE:
        pattern = re.compile("[" + "".join(_class_text(*member) for member in members[1:]) + "]")
        return next(char for char in "aB7_- .,:/é" if not pattern.match(char))
    op, argument = chance.choice(members)
    if op is sre.RANGE:
        return chr(chance.randint(argument[0], min(argument[1], argument[0] + 25)))
    return chr(argument) if op is sre.LITERAL else _CATEGORIES[argument]


def _class_text(op: Any, argument: Any) -> str:
    if op is sre.RANGE:
        return f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}"
    if op is sre.LITERAL:
        return re.escape(chr(argument))
    return {sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_WORD: r"\w", sre.CATEGORY_SPACE: r"\s"}[argument]

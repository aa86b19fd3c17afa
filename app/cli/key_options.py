"""What the options of ``claude-wrapper keys`` say, as the body of the same admin request.

``none`` clears what can be cleared. Everything else is checked where the admin routes check it, so that both accept the
same; an error about a field is told with the name of its option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from app.cli.errors import FAILED, MISUSED, CommandFailed
from app.errors import GatewayError, InvalidRequest

F = TypeVar("F", bound=Callable[..., Any])

#: Option -> field of ``limits``.
LIMITS = {
    "rpm": "requests_per_minute",
    "input_tpm": "input_tokens_per_minute",
    "output_tpm": "output_tokens_per_minute",
    "concurrency": "concurrency",
    "budget_day": "budget_day",
    "budget_month": "budget_month",
    "budget_total": "budget_total",
}

#: Option -> field of ``cache``.
CACHE = {"cache": "mode", "cache_ttl": "ttl", "share_within": "share_within"}

#: Field -> option, where they are not called the same.
_OPTIONS = {
    **{f"limits.{field}": option for option, field in LIMITS.items()},
    **{f"cache.{field}": option for option, field in CACHE.items()},
    "grace_s": "grace",
}

_NONE = "none"


def key_options(function: F) -> F:
    """The options of what a key may have, in the order of help."""
    for option in reversed(_KEY_OPTIONS):
        function = click.option(*option[0], **option[1])(function)
    return function


_RATE = "1 or more; none: the deployment's default"
_BUDGET = "0: may spend nothing; none: the deployment's default"

_KEY_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--name",), {"help": "for people"}),
    (
        ("--models",),
        {
            "multiple": True,
            "metavar": "NAMES",
            "help": "models it may use, with commas between them, such as haiku,claude-opus-*; none: all",
        },
    ),
    (
        ("--scopes",),
        {"multiple": True, "metavar": "NAMES", "help": "among inference, sessions, admin (inference,sessions)"},
    ),
    (("--rpm",), {"metavar": "N", "help": f"requests a minute: {_RATE}"}),
    (("--input-tpm",), {"metavar": "N", "help": f"input tokens a minute: {_RATE}"}),
    (("--output-tpm",), {"metavar": "N", "help": f"output tokens a minute: {_RATE}"}),
    (("--concurrency",), {"metavar": "N", "help": f"requests in flight: {_RATE}"}),
    (("--budget-day",), {"metavar": "USD", "help": f"US dollars a day (UTC); {_BUDGET}"}),
    (("--budget-month",), {"metavar": "USD", "help": f"US dollars a month (UTC); {_BUDGET}"}),
    (("--budget-total",), {"metavar": "USD", "help": f"US dollars in all; {_BUDGET}"}),
    (
        ("--expires",),
        {
            "metavar": "WHEN",
            "help": "30d, 12h, 2030-01-31 (the beginning of that day, UTC), 2030-01-31T12:00:00Z, Unix seconds; "
            "none: never",
        },
    ),
    (
        ("--outage",),
        {"metavar": "POLICY", "help": "fail_open or fail_closed while Redis is away; none: the deployment's policy"},
    ),
    (
        ("--cache",),
        {
            "metavar": "MODE",
            "help": "its response cache: off, opt-in or on; none: the deployment's mode. Where the deployment is "
            "off, it is off for every key",
        },
    ),
    (
        ("--cache-ttl",),
        {
            "metavar": "SECONDS",
            "help": "so long its answers stay in the cache, up to 1800; none: the deployment's time",
        },
    ),
    (
        ("--share-within",),
        {
            "metavar": "WHO",
            "help": "who shares its sessions and cached answers: key or tenant; none: as the deployment",
        },
    ),
    (
        ("--metadata",),
        {
            "multiple": True,
            "metavar": "K=V",
            "help": "a note of your own; may be repeated; K= removes one, none all of them",
        },
    ),
)


def wire_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the request that the options mean; what was not given is not in it.

    Args:
        given: value of each option of ``key_options``; ``None`` or empty was not given.

    Raises:
        CommandFailed: a note is no pair, or named twice.
    """
    wire: dict[str, Any] = {}
    if given["name"] is not None:
        wire["name"] = given["name"]
    for name in ("models", "scopes"):
        if given[name]:
            wire[name] = _words(given[name])
    limits = {field: _number(given[option]) for option, field in LIMITS.items() if given[option] is not None}
    if limits:
        wire["limits"] = limits
    cache = {field: _number(given[option]) for option, field in CACHE.items() if given[option] is not None}
    if cache:
        wire["cache"] = cache
    if given["expires"] is not None:
        wire["expires"] = _number(given["expires"])
    if given["outage"] is not None:
        wire["outage"] = None if given["outage"] == _NONE else given["outage"]
    if given["metadata"]:
        wire["metadata"] = _notes(given["metadata"])
    return wire


def grace_of(text: str | None) -> dict[str, Any]:
    """The body of the request that ``--grace`` means: a number of seconds, or a duration."""
    if text is None:
        return {}
    number = _number(text)
    return {"grace": number} if isinstance(number, str) else {"grace_s": number}


def in_options(error: GatewayError) -> CommandFailed:
    """An error of the request in the words of the command line."""
    if not isinstance(error, InvalidRequest):
        return CommandFailed(error.message)
    message = error.message
    if error.param is not None:
        field = error.param.partition("[")[0]
        option = _OPTIONS.get(field, field.partition(".")[0])
        message = (
            message.replace(f"'{error.param}'", "--" + option.replace("_", "-"))
            .replace(" or null", " or none")
            .replace(", or null", ", or none")
        )
    return CommandFailed(message, status=FAILED if error.code in ("conflict", "key_revoked") else MISUSED)


def _words(given: Sequence[str]) -> list[str]:
    words = [word.strip() for text in given for word in text.split(",") if word.strip()]
    return [] if words == [_NONE] else words


def _number(text: str) -> Any:
    """A number where the text is one; otherwise the text, which is then refused with what would be accepted."""
    if text == _NONE:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _notes(given: Sequence[str]) -> dict[str, str | None] | None:
    """Notes by name; one that is given empty is removed, and all of them by ``none``."""
    if list(given) == [_NONE]:
        return None
    notes: dict[str, str | None] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandFailed(f"--metadata: {text!r} is no K=V pair.", status=MISUSED)
        if name in notes:
            raise CommandFailed(f"--metadata: {name!r} is given twice: which one?", status=MISUSED)
        notes[name] = value or None
    return notes

"""What the options of ``claude-wrapper keys`` say, as the body of the same admin request.

``none`` clears what can be cleared. Everything else is checked where the admin routes check it, so that both accept the
same; an error about a field is told with the name of its option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from app.cli.errors import FAILED, MISUSED, CommandFailed
from app.domain.key_changes import duration_s
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

#: Field -> option, where they are not called the same.
_OPTIONS = {f"limits.{field}": option for option, field in LIMITS.items()} | {"grace_s": "grace"}

_NONE = "none"


def key_options(function: F) -> F:
    """The options of what a key may have, in the order of help."""
    for option in reversed(_KEY_OPTIONS):
        function = click.option(*option[0], **option[1])(function)
    return function


_KEY_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--name",), {"help": "for people"}),
    (("--models",), {"multiple": True, "metavar": "NAMES", "help": "models it may use, such as claude-haiku-*; all"}),
    (("--scopes",), {"multiple": True, "metavar": "NAMES", "help": "among inference, sessions, admin"}),
    (("--rpm",), {"metavar": "N", "help": "requests a minute"}),
    (("--input-tpm",), {"metavar": "N", "help": "input tokens a minute"}),
    (("--output-tpm",), {"metavar": "N", "help": "output tokens a minute"}),
    (("--concurrency",), {"metavar": "N", "help": "requests in flight"}),
    (("--budget-day",), {"metavar": "USD", "help": "US dollars a day (UTC)"}),
    (("--budget-month",), {"metavar": "USD", "help": "US dollars a month (UTC)"}),
    (("--budget-total",), {"metavar": "USD", "help": "US dollars in all"}),
    (("--expires",), {"metavar": "WHEN", "help": "30d, 12h, 2030-01-31T12:00:00Z or Unix seconds"}),
    (("--outage",), {"metavar": "POLICY", "help": "fail_open or fail_closed while Redis is away"}),
    (("--metadata",), {"multiple": True, "metavar": "K=V", "help": "a note of your own; may be repeated"}),
)


def wire_of(given: Mapping[str, Any], *, now: float) -> dict[str, Any]:
    """The body of the request that the options mean; what was not given is not in it.

    Args:
        given: value of each option of ``key_options``; ``None`` or empty was not given.
        now: Unix seconds, for an expiry that is a duration.

    Raises:
        CommandFailed: a note is no pair.
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
    if given["expires"] is not None:
        wire["expires"] = _expiry(given["expires"], now)
    if given["outage"] is not None:
        wire["outage"] = None if given["outage"] == _NONE else given["outage"]
    if given["metadata"]:
        wire["metadata"] = _pairs(given["metadata"])
    return wire


def grace_of(text: str | None) -> Any:
    """Seconds of ``--grace``: a number of them, or a duration."""
    if text is None:
        return 0
    seconds = duration_s(text)
    return seconds if seconds is not None else _number(text)


def in_options(error: GatewayError) -> CommandFailed:
    """An error of the request in the words of the command line."""
    if not isinstance(error, InvalidRequest):
        return CommandFailed(error.message)
    message = error.message
    if error.param is not None:
        field = error.param.partition("[")[0]
        option = _OPTIONS.get(field, field)
        message = message.replace(f"'{error.param}'", "--" + option.replace("_", "-")).replace(" or null", " or none")
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


def _expiry(text: str, now: float) -> Any:
    seconds = duration_s(text)
    return now + seconds if seconds is not None else _number(text)


def _pairs(given: Sequence[str]) -> dict[str, str]:
    if list(given) == [_NONE]:
        return {}
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandFailed(f"--metadata: {text!r} is no K=V pair.", status=MISUSED)
        pairs[name] = value
    return pairs

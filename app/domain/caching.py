"""The response cache: who uses it, for how long, and what makes two requests the same; pure.

Sources: DESIGN.md section 3, "Response cache" and "Single flight"; RFC 9111 section 5.2.1 for what a request may say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from app.errors import InvalidRequest

#: ``opt-in``: for requests that ask for it, and keys whose own mode is ``on``; ``off`` of the deployment: for nobody.
CacheMode = Literal["off", "opt-in", "on"]
#: Who shares sessions and cached answers.
Sharing = Literal["key", "tenant"]

#: Less than a session lives, since ``volatile-ttl`` evicts by the time that is left.
MAX_CACHE_TTL_S = 1800


class CacheRule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What holds of one API key; ``None`` is not set, and the deployment's setting counts.

    Args:
        mode: of the response cache.
        ttl_s: seconds that an answer is kept.
        share_within: who shares its sessions and cached answers.
    """

    mode: CacheMode | None = None
    ttl_s: Annotated[int, Meta(ge=1, le=MAX_CACHE_TTL_S)] | None = None
    share_within: Sharing | None = None

    def over(self, defaults: CacheRule) -> CacheRule:
        """This rule, with ``defaults`` where it does not say; a cache that is ``off`` there is on for nobody."""
        if self == NO_CACHE_RULE:
            return defaults
        return CacheRule(
            mode=defaults.mode if self.mode is None or defaults.mode == "off" else self.mode,
            ttl_s=defaults.ttl_s if self.ttl_s is None else self.ttl_s,
            share_within=defaults.share_within if self.share_within is None else self.share_within,
        )


NO_CACHE_RULE = CacheRule()


class CacheControl(Struct, frozen=True, kw_only=True):
    """What a request says of caches.

    Args:
        no_cache: it wants a fresh answer.
        no_store: its answer may not be kept.
        max_age_s: it takes an answer of at most so many seconds; ``None``: it does not say.
    """

    no_cache: bool = False
    no_store: bool = False
    max_age_s: int | None = None


NO_CACHE_CONTROL: Final = CacheControl()


class CachePlan(Struct, frozen=True, kw_only=True):
    """What the response cache does for a request.

    Args:
        reads: an answer that is kept may be given.
        stores: the answer that is made is kept.
        max_age_s: the age of the oldest answer that may be given, in seconds; ``None``: any that is still there.
        ttl_s: seconds that the answer is kept.
    """

    reads: bool
    stores: bool
    max_age_s: int | None
    ttl_s: int


def plan_cache(rule: CacheRule, control: CacheControl) -> CachePlan | None:
    """What the response cache does for a request; ``None``: it has nothing to do with it.

    | mode | the request says | answers that are kept | its own answer |
    |---|---|---|---|
    | ``off``, which the deployment's is for every key | anything | - | - |
    | any | ``no-store`` | - | - |
    | ``opt-in`` | nothing, ``no-cache`` or ``max-age=0`` | - | - |
    | ``opt-in``, ``on`` | ``max-age=N`` | not older than N s | for N s |
    | ``opt-in``, ``on`` | ``max-age=N, no-cache`` | not read | for N s |
    | ``on`` | nothing | of any age | for the TTL of the rule |
    | ``on`` | ``no-cache`` or ``max-age=0`` | not read | for the TTL of the rule |

    N is 1 and more; no answer is kept longer than ``MAX_CACHE_TTL_S``. A reload in a browser says ``no-cache`` or
    ``max-age=0``, so neither opts in.

    Args:
        rule: of the key, over the deployment's settings.
        control: what the request says.

    Raises:
        ValueError: the rule is not complete: nobody has laid it over the settings.
    """
    if rule.mode is None or rule.ttl_s is None:
        raise ValueError("A rule counts only over the deployment's settings.")
    asked_s = control.max_age_s or None
    if rule.mode == "off" or control.no_store or (rule.mode == "opt-in" and asked_s is None):
        return None
    reads = not control.no_cache and control.max_age_s != 0
    return CachePlan(
        reads=reads,
        stores=True,
        max_age_s=asked_s if reads else None,
        ttl_s=rule.ttl_s if asked_s is None else min(asked_s, MAX_CACHE_TTL_S),
    )


# Cache-Control

#: One directive with what follows it, up to the comma; commas in quotes are part of it. A quote that is not closed
#: reaches to the end.
_DIRECTIVE: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')
#: Delta-seconds, as they are or in quotes (RFC 9111 sections 1.2.2 and 5.2).
_SECONDS: Final = re.compile(r'([0-9]+)|"([0-9]+)"')
#: More than this is this much (section 1.2.2).
_MOST_SECONDS: Final = 2**31
#: Python makes no number of more than some thousand.
_MOST_DIGITS: Final = 10

_PARAM: Final = "header.cache-control"


def read_cache_control(header: str | None) -> CacheControl:
    """What a request says of caches by its ``Cache-Control``.

    Of two ``max-age`` the smaller one counts. ``max-stale`` and ``min-fresh`` are advice that a cache need not follow
    (section 5.2.1); ours does not, as it keeps nothing that is stale. What it does not know it ignores (section 5.2.3).

    Args:
        header: its value; several lines joined by commas.

    Raises:
        InvalidRequest: ``max-age`` is no number of seconds, or ``only-if-cached`` is asked for.
    """
    if not header:
        return NO_CACHE_CONTROL
    names: set[str] = set()
    ages: list[int] = []
    for name, argument in _directives(header):
        names.add(name)
        if name == "max-age":
            ages.append(_seconds(argument))
    if "only-if-cached" in names:
        raise InvalidRequest(
            "Cache-Control: only-if-cached is not supported. With max-age=N an answer from the response cache is given "
            "where there is one, and made where there is none.",
            param=_PARAM,
            code="unsupported_value",
        )
    return CacheControl(
        no_cache="no-cache" in names, no_store="no-store" in names, max_age_s=min(ages) if ages else None
    )


def _directives(header: str) -> Iterator[tuple[str, str]]:
    """Names in lower case, and what stands behind their ``=``, quotes included."""
    for directive in _DIRECTIVE.findall(header):
        name, _, argument = directive.partition("=")
        yield name.strip(" \t").lower(), argument.strip(" \t")


def _seconds(argument: str) -> int:
    found = _SECONDS.fullmatch(argument)
    if found is None:
        raise InvalidRequest(
            "Invalid value for Cache-Control: max-age takes a whole number of seconds, such as max-age=300.",
            param=_PARAM,
            code="invalid_value",
        )
    digits = (found[1] or found[2]).lstrip("0") or "0"
    return min(int(digits), _MOST_SECONDS) if len(digits) <= _MOST_DIGITS else _MOST_SECONDS

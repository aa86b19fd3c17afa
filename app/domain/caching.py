"""The response cache: who uses it, for how long, and what makes two requests the same; pure.

Source: DESIGN.md section 3, "Response cache" and "Single flight".
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

#: ``opt-in``: for requests that ask for it, and keys whose own mode is ``on``.
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
        """This rule, with ``defaults`` where it does not say."""
        return CacheRule(
            mode=defaults.mode if self.mode is None else self.mode,
            ttl_s=defaults.ttl_s if self.ttl_s is None else self.ttl_s,
            share_within=defaults.share_within if self.share_within is None else self.share_within,
        )


NO_CACHE_RULE = CacheRule()

"""Who calls: the tenant that a request is counted and kept for."""

from __future__ import annotations

from msgspec import Struct


class Caller(Struct, frozen=True, kw_only=True):
    """The caller of a request.

    Args:
        tenant: opaque name of the tenant; ``anonymous`` as long as keys name no tenants.
        authenticated: a key was asked for and accepted.
    """

    tenant: str = "anonymous"
    authenticated: bool = False


#: Everybody, on a gateway without protection.
ANONYMOUS = Caller()

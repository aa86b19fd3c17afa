"""``GET /v1/usage``: what a caller may use, what is left of it, and what it has spent.

Everybody sees their own key; whoever has the scope ``admin`` any stored key by its id, anybody else by tenant and id
(keys of the keys file, subjects of tokens, the static key), or a tenant. Spend is state: without the
store the answer is 503, never zero.
"""

from __future__ import annotations

from typing import Annotated

from litestar import Request, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from app.api.auth import require_scope
from app.api.operation import Parameter, operation
from app.domain.auth import ApiKey, Caller, tenant_tag
from app.domain.key_changes import checked_name
from app.domain.limits import NO_LIMITS, Limits
from app.domain.usage_report import (
    AccountReading,
    report_of_key,
    report_of_tenant,
    shown_caller,
    shown_id,
    shown_key,
)
from app.errors import NotFound
from app.gateway.services import Services
from app.schemas.usage import UsageKey, UsageReport
from app.state import api_keys
from app.state.limits import TENANT, Account
from app.state.usage import read_account

UsageRequest = Request[None, None, State]

#: Days of a report; what is older is forgotten soon (``keys.USAGE_TTL_S``).
Days = Annotated[int, QueryParameter(ge=1, le=31)]

_PARAMETERS = (
    Parameter(
        name="days",
        place="query",
        description="How many days, today (UTC) among them; 7 without it.",
        schema={"type": "integer", "minimum": 1, "maximum": 31},
    ),
    Parameter(
        name="key_id",
        place="query",
        description="Another key, by its id; needs the scope `admin`. With `tenant` also a key of the keys file, the "
        "subject of tokens (`jwt-...`), a client with its own key of Anthropic (`byok-...`, tenant `byok`) or the "
        "static key (`static`, tenant `default`).",
        schema={"type": "string"},
    ),
    Parameter(
        name="tenant",
        place="query",
        description="Limits and spend of a tenant, by its name; needs the scope `admin`. With `key_id`: of that key.",
        schema={"type": "string"},
    ),
)


@get(
    "/v1/usage",
    response_headers={"cache-control": "no-store"},
    operation_class=operation(
        "getUsage",
        tag="usage",
        summary="Your limits, what is left, and what was spent",
        description="Of the key that asks, at this moment, over all replicas. Spend comes by day and model; what "
        "Anthropic did not report, of a call that was cancelled, is estimated and marked. Answers from the response "
        "cache are counted apart, as `cached_requests`.",
        parameters=_PARAMETERS,
        replies={200: ("Limits and usage.", UsageReport)},
        errors=(400, 401, 403, 404),
    ),
)
async def usage(
    request: UsageRequest,
    services: NamedDependency[Services],
    days: Days = 7,
    key_id: FromQuery[str | None] = None,
    tenant: FromQuery[str | None] = None,
) -> UsageReport:
    """Limits and usage of the caller; of a key or a tenant, for an administrator."""
    if key_id is None and tenant is None:
        return await _of_caller(services, request.scope["state"]["caller"], days)
    require_scope(request, "admin")
    if key_id is None:
        return await _of_tenant(services, checked_name(tenant or "", param="tenant"))
    if tenant is None:
        return await _of_stored(services, key_id, days)
    return await _of_anybody(services, checked_name(tenant, param="tenant"), checked_name(key_id, param="key_id"), days)


async def _of_caller(services: Services, caller: Caller, days: int) -> UsageReport:
    reading = await _reading(services, Account(caller.tag, caller.key_id), caller.limits, days)
    of_file = _of_file(services, caller.tenant, caller.key_id) if caller.source == "file" else None
    record = reading.record if caller.source == "stored" else of_file
    return report_of_key(caller.tenant, shown_caller(caller, record), reading)


async def _of_stored(services: Services, key_id: str, days: int) -> UsageReport:
    key = await api_keys.find(services.state, key_id)
    if key is None:
        raise NotFound(
            f"There is no stored key {key_id[:64]!r}. Anybody else, such as a key of the keys file or the subject of a "
            "token, is found by tenant and key_id together.",
            param="key_id",
            code="key_not_found",
        )
    return await _of_key(services, shown_key(key, "stored"), key, days)


async def _of_anybody(services: Services, tenant: str, key_id: str, days: int) -> UsageReport:
    """Whoever has that id: a key with a record, or an account of which there is only the use."""
    if (of_file := _of_file(services, tenant, key_id)) is not None:
        return await _of_key(services, shown_key(of_file, "file"), of_file, days)
    stored = await api_keys.look_up(services.state, tenant_tag(tenant), key_id)
    if stored is not None:
        return await _of_key(services, shown_key(stored, "stored"), stored, days)
    reading = await _reading(services, Account(tenant_tag(tenant), key_id), NO_LIMITS, days)
    return report_of_key(tenant, shown_id(tenant, key_id), reading)


async def _of_key(services: Services, shown: UsageKey, key: ApiKey, days: int) -> UsageReport:
    reading = await _reading(services, Account(tenant_tag(key.tenant), key.id), key.limits, days)
    return report_of_key(key.tenant, shown, reading)


async def _of_tenant(services: Services, tenant: str) -> UsageReport:
    reading = await _reading(services, Account(tenant_tag(tenant), TENANT), NO_LIMITS, 0)
    return report_of_tenant(tenant, reading)


async def _reading(services: Services, account: Account, own: Limits, days: int) -> AccountReading:
    admission = services.admission
    return await read_account(
        services.state,
        services.ledger.new_id(),
        account,
        own=admission.limits_of(own),
        tenant=admission.tenant_limits(account.tag),
        days=days,
    )


def _of_file(services: Services, tenant: str, key_id: str) -> ApiKey | None:
    of_file = services.gate.key_file.keys.values()
    return next((key for key in of_file if (key.tenant, key.id) == (tenant, key_id)), None)

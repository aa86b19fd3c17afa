"""A gateway in the test's own process before a Redis that fails: its rooms, its keys, what was told and booked."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

from app.domain.auth import tenant_tag
from app.gateway.services import Services
from app.schemas.admin import NewKey
from app.state import api_keys, connect
from tests.support.books import Books
from tests.support.chat_wire import until
from tests.support.gateway_here import GatewayHere
from tests.support.paced_load import MODEL, Answer

TENANT = "acme"
TAG = tenant_tag(TENANT)

#: Keys of the keys file by their name, which is their id.
FILE_KEYS = {name: f"key-of-the-file-{name}" for name in ("open", "closed")}

CLASSES = ("requests", "input", "output")


def services_of(gateway: GatewayHere) -> Services:
    """The rooms of a gateway in this process."""
    services: Services = gateway.app._app.state.services
    return services


async def stored_key(
    services: Services, name: str = "stored", *, tenant: str = TENANT, **fields: Any
) -> tuple[str, str]:
    """A new key in Redis: its text and its id."""
    state = connect(services.config.redis_url, timeout_s=5.0)
    wire = NewKey(tenant=tenant, name=name, **fields)
    issued = await api_keys.create(state, wire, actor="test", now=services.now())
    await state.close()
    return issued.text, issued.key.id


async def away(gateway: GatewayHere) -> None:
    """Returns once the gateway knows that Redis is away."""
    await until(lambda: not services_of(gateway).state.available)


async def settled(gateway: GatewayHere) -> None:
    """Returns once Redis is back and has been told everything."""
    services = services_of(gateway)
    await until(lambda: services.state.available and not (services.ledger.open_permits or services.ledger.unsettled))


def told(answers: Iterable[Answer]) -> Counter[tuple[str, str]]:
    """What answers told to have been used, by client and class."""
    sums: Counter[tuple[str, str]] = Counter()
    for answer in answers:
        sums.update({(answer.client, class_): answer.used[class_] for class_ in CLASSES})
    return sums


def booked(books: Books, ids: dict[str, str]) -> Counter[tuple[str, str]]:
    """What Redis has booked for keys, by the same names; spend and usage agree, and nothing is held any more."""
    found: Counter[tuple[str, str]] = Counter()
    for name, key_id in ids.items():
        usage = books.usage(TAG, key_id).get(MODEL, Counter())
        found.update({(name, class_): usage[class_] for class_ in CLASSES})
        assert usage["cost"] == books.spend(TAG, key_id).total
    assert not books.is_busy(TAG), books.leases(TAG)
    return found


class Counted(logging.Handler):
    """Counts the lines that the application logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        self.lines.append(record.getMessage())

"""What the webhook is sent about an event, and how it is signed; pure.

Two bodies: an object of our own (``json``), and a message with an attachment that Slack takes, and so do Mattermost,
Rocket.Chat and Discord (``/slack``). The signature is that of Standard Webhooks 1.0 (standardwebhooks.com): headers
``webhook-id``, ``webhook-timestamp``, ``webhook-signature`` with HMAC-SHA256 over ``<id>.<timestamp>.<body>``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import html
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from app.domain.alert_words import event_in_words
from app.domain.alerts import AlertEvent, Level, Unit

#: Before a secret in base64, as Standard Webhooks writes it.
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the beginning of every secret

_COLOURS: Final[Mapping[Level, str]] = {"ok": "#2e7d32", "warning": "#f9a825", "critical": "#c62828"}

_encode = msgspec.json.Encoder().encode


class AlertNotice(Struct, frozen=True, kw_only=True):
    """The body of the format ``json``.

    Args:
        id: of the event; the same each time it is sent (header ``webhook-id``).
        alert: name of the alert, such as ``error_rate`` or ``budget:acme:month``.
        level: ``ok`` (resolved), ``warning`` or ``critical``.
        previous: the level that was told before.
        value: what was read, in ``unit``.
        threshold: what it has reached; of a resolved alert, what it keeps clear of.
        unit: ``s``, ``share`` (1.0 is all), ``days`` or ``fact`` (1 or 0).
        at: Unix seconds of the event.
        since: Unix seconds since when the level holds.
        text: the same in a sentence.
        version: of the gateway.
        host: of the replica that tells it.
    """

    id: str
    alert: str
    level: Level
    previous: Level
    value: float
    threshold: float
    unit: Unit
    at: int
    since: int
    text: str
    version: str
    host: str


def json_body(event: AlertEvent, *, version: str, host: str) -> bytes:
    """The event as an ``AlertNotice``."""
    return _encode(
        AlertNotice(
            id=event.id,
            alert=event.alert,
            level=event.level,
            previous=event.previous,
            value=event.value,
            threshold=event.threshold,
            unit=event.unit,
            at=int(event.at),
            since=int(event.since),
            text=event_in_words(event),
            version=version,
            host=host,
        )
    )


def slack_body(event: AlertEvent, *, version: str, host: str) -> bytes:
    """The event as a message for an incoming webhook of Slack."""
    text = _escaped(event_in_words(event))
    attachment = {
        "color": _COLOURS[event.level],
        "fallback": text,
        "fields": [
            {"title": "Alert", "value": _escaped(event.alert), "short": True},
            {"title": "Level", "value": _escaped(f"{event.previous} -> {event.level}"), "short": True},
        ],
        "footer": _escaped(f"Claude Wrapper {version} on {host}"),
        "ts": int(event.at),
    }
    return _encode({"text": text, "attachments": [attachment]})


def signing_key(secret: str) -> bytes:
    """The key of a secret: what ``whsec_`` stands before is base64, anything else is taken as it is.

    Raises:
        ValueError: it is no base64.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"behind {SECRET_PREFIX} base64 is expected") from None


def signature(key: bytes, *, event_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``."""
    signed = b".".join((event_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _escaped(text: str) -> str:
    """Text for Slack, in which three characters mean something."""
    return html.escape(text, quote=False)

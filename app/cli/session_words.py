"""Sessions in words, for people: one session with its messages, a table of many, figures of all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from app.cli.tables import cut, day_and_time, in_a_table, in_lines
from app.domain.sessions import SessionName
from app.schemas.sessions import SessionFigures, SessionObject

_ID_CELLS: Final = 40
_SHARED: Final = "*"

#: What may not reach a terminal as it is: all control characters but tab and line feed.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def sessions_in_a_table(listed: Sequence[SessionObject], *, now: float) -> str:
    """Many sessions, a line for each; at least one."""
    return in_a_table([_row(session, now) for session in listed], optional=("DROPPED",))


def session_in_words(session: SessionObject, *, now: float, store: str) -> str:
    """Everything about a session, a line for each thing, and below it its messages."""
    told = {
        "id": session.id,
        "tenant": str(session.tenant),
        "key": key_in_words(str(session.key_id)),
        "messages": str(session.message_count),
        "dropped": str(session.dropped_messages) if session.dropped_messages else "",
        "size": f"{session.size_bytes} bytes",
        "created": day_and_time(session.created_at),
        "last used": f"{day_and_time(session.last_used_at)}, {duration(now - session.last_used_at)} ago",
        "expires in": duration(session.expires_at - now),
        "store": store,
    }
    said = [_message(message) for message in msgspec.json.decode(session.messages or b"[]")]
    return "\n\n".join([in_lines(told), *said])


def figures_in_words(figures: SessionFigures, *, store: str) -> str:
    """How many sessions there are, a line for each thing."""
    return in_lines(
        {
            "live": str(figures.active_sessions),
            "expired": f"{figures.expired_sessions}, still in the index",
            "messages": f"{figures.average_message_count:g} a session",
            "oldest": duration(figures.oldest_session_age),
            "at most": f"{figures.max_sessions} of a tenant",
            "kept for": f"{duration(figures.ttl)} unused",
            "store": store,
        }
    )


def whose_in_words(name: SessionName, tenant: str) -> str:
    """``session trip of key k1 of tenant acme``."""
    owner = "shared by the keys" if name.scope == _SHARED else f"of key {name.scope}"
    return f"session {name.id} {owner} of tenant {tenant}"


def key_in_words(scope: str) -> str:
    """The key that has a session."""
    return "(shared)" if scope == _SHARED else scope


def duration(seconds: float) -> str:
    """``45s``, ``12m 3s``, ``1h 0m``, ``2d 5h``: the two largest units."""
    whole = max(int(seconds), 0)
    days, hours, minutes, rest = whole // 86_400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"


def _row(session: SessionObject, now: float) -> dict[str, str]:
    return {
        "TENANT": str(session.tenant),
        "KEY": key_in_words(str(session.key_id)),
        "ID": cut(session.id, _ID_CELLS),
        "MESSAGES": str(session.message_count),
        "DROPPED": str(session.dropped_messages) if session.dropped_messages else "",
        "IDLE": duration(now - session.last_used_at),
        "EXPIRES IN": duration(session.expires_at - now),
    }


def _message(message: dict[str, Any]) -> str:
    """A chat message: who said it, its text, what it calls."""
    said = [_text(message.get("content"))]
    for call in message.get("tool_calls") or ():
        function, custom = call.get("function"), call.get("custom")
        said.append(
            f"{function['name']}({function['arguments']})" if function else f"{custom['name']}({custom['input']})"
        )
    if (legacy := message.get("function_call")) is not None:
        said.append(f"{legacy['name']}({legacy['arguments']})")
    text = "\n".join(part for part in said if part)
    return _CONTROL.sub("\ufffd", f"{message['role']}: {text}")


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(_part(part) for part in content)
    return content or ""


def _part(part: dict[str, Any]) -> str:
    """The text of a part; of an image or a file only that it is one, since they are long."""
    return str(part.get("text") or part.get("refusal") or f"[{part['type']}]")

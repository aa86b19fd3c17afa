"""What a translation has to tell its client: parameters that had no effect or were changed, each with a reason."""

from __future__ import annotations

from msgspec import Struct

from app.domain.calls import Report
from app.errors import InvalidRequest


class Note(Struct, frozen=True):
    """One parameter that was not taken as it is.

    Args:
        path: such as ``messages[0].name``.
        reason: a sentence without the full stop.
        became: what it was changed to; None when it had no effect at all.
    """

    path: str
    reason: str
    became: str | None = None


class Notes:
    """Collects notes during one translation, in order.

    Attributes:
        muted: what is noted now was reported with an earlier request, and is not again.
    """

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.muted = False

    def ignore(self, path: str, reason: str) -> None:
        """A parameter had no effect."""
        if not self.muted:
            self.notes.append(Note(path, reason))

    def adjust(self, path: str, became: str, reason: str) -> None:
        """A parameter was changed."""
        if not self.muted:
            self.notes.append(Note(path, reason, became))

    def extend(self, later: Notes) -> None:
        """Appends the notes of another part of the translation."""
        self.notes.extend(later.notes)

    def report(self) -> Report:
        """As ``MessagesCall.report`` carries it."""
        if not self.notes:
            return _NOTHING
        return Report(
            ignored=tuple(note.path for note in self.notes if note.became is None),
            adjusted=tuple((note.path, note.became) for note in self.notes if note.became is not None),
        )

    def refuse_any(self) -> None:
        """Strict mode: the first note becomes an error.

        Raises:
            InvalidRequest: code ``unsupported_parameter``, ``param`` the path.
        """
        for note in self.notes:
            effect = "would have no effect" if note.became is None else f"would become '{note.became}'"
            raise InvalidRequest(
                f"'{note.path}' {effect} ({note.reason}), and strict mode refuses that.",
                param=note.path,
                code="unsupported_parameter",
            )


_NOTHING = Report()

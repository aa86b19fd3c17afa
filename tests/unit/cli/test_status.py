from __future__ import annotations

import pytest

from app.cli.status import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (7384, "2 h 3 min"),
        (90_000, "1 d 1 h"),
        (86_400, "1 d"),
    ],
)
def test_duration_has_two_units_at_most(seconds: float, words: str) -> None:
    assert duration(seconds) == words

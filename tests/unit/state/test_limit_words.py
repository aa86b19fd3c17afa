from __future__ import annotations

from app.domain.limits import LIMIT_FIELDS, NO_LIMITS, Limits
from app.state.limit_words import limit_words


def test_every_limit_is_a_word_in_its_place() -> None:
    assert limit_words(Limits(**{name: place for place, name in enumerate(LIMIT_FIELDS, start=1)})) == "1 2 3 4 5 6 7"


def test_a_limit_that_is_not_set_is_a_dash_and_nothing_is_a_limit() -> None:
    assert limit_words(NO_LIMITS) == "- - - - - - -"
    assert limit_words(Limits(concurrency=2, budget_day_nano=0)) == "- - - 2 0 - -"

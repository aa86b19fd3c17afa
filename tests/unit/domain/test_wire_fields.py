from __future__ import annotations

import pytest

from app.domain.wire_fields import bounds_at, fields_at, nearest_field
from app.schemas.admin import FileContent, KeyChanges, KeyRotation


def test_fields_are_those_of_the_struct_at_the_path() -> None:
    assert fields_at(KeyRotation, "") == ("grace_s", "grace")
    assert fields_at(KeyChanges, "limits")[0] == "requests_per_minute"
    assert "key_sha256" in fields_at(FileContent, "keys[3]")
    assert fields_at(FileContent, "keys[3].limits") == fields_at(KeyChanges, "limits")


@pytest.mark.parametrize("path", ["name", "nothing", "metadata[...]", "models[0]", "limits[0]", "expires.deeper"])
def test_where_no_struct_is_there_are_no_fields(path: str) -> None:
    assert fields_at(KeyChanges, path) == ()


@pytest.mark.parametrize(
    ("path", "name", "near"),
    [
        ("", "expires_at", "expires"),
        ("", "model", "models"),
        ("", "rpm", "limits.requests_per_minute"),
        ("", "input_tpm", "limits.input_tokens_per_minute"),
        ("", "budget_daily", "limits.budget_day"),
        ("limits", "rpm", "requests_per_minute"),
        ("limits", "otpm", "output_tokens_per_minute"),
        ("limits", "requests_per_min", "requests_per_minute"),
        ("", "colour", ""),
        ("limits", "name", ""),
        ("name", "rpm", ""),
    ],
)
def test_the_nearest_field_is_found_by_its_spelling_or_its_abbreviation(path: str, name: str, near: str) -> None:
    assert nearest_field(KeyChanges, path, name) == near


def test_bounds_are_known_where_both_are_set() -> None:
    assert bounds_at(KeyChanges, "limits.requests_per_minute") == (1, 100_000_000)
    assert bounds_at(KeyChanges, "limits.budget_day") == (0, 1_000_000)
    assert bounds_at(KeyChanges, "name") is None
    assert bounds_at(KeyChanges, "expires") is None

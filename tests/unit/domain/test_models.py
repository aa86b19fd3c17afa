import re
from datetime import date

import pytest

from app.domain.models import EFFORT_ORDER, ModelTable, ModelTableError
from app.errors import NotFound
from tests.support.chat_requests import MODELS, MODELS_TOML


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("claude-opus-5.5", "claude-opus-5-5"),
        ("anthropic/claude-opus-5.5", "claude-opus-5-5"),
        ("Claude-Opus-5-5", "claude-opus-5-5"),
        ("fable", "claude-fable-5-2"),
        ("opus", "claude-opus-5-5"),
        ("sonnet", "claude-sonnet-5-5"),
        ("haiku", "claude-haiku-5-5"),
        ("claude-sonnet-latest", "claude-sonnet-5-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5-20251001"),
    ],
)
def test_a_name_means_its_model_and_is_not_reported(name: str, id_: str) -> None:
    resolution = MODELS.resolve(name)
    assert (resolution.id, resolution.adjusted, resolution.effort) == (id_, None, None)


def test_a_dated_id_has_the_facts_of_its_model() -> None:
    assert MODELS.resolve("claude-sonnet-4-5-20250929").facts is MODELS.resolve("claude-sonnet-4-5").facts


@pytest.mark.parametrize(
    ("name", "current"),
    [
        ("claude-3-5-sonnet-20241022", "claude-sonnet-5-5"),
        ("claude-3-5-sonnet-latest", "claude-sonnet-5-5"),
        ("claude-3.5-sonnet", "claude-sonnet-5-5"),
        ("claude-3-7-sonnet-20250219", "claude-sonnet-5-5"),
        ("claude-3-opus-20240229", "claude-opus-5-5"),
        ("claude-3-haiku-20240307", "claude-haiku-5-5"),
        ("claude-opus-4-1-20250805", "claude-opus-5-5"),
        ("claude-opus-4-20250514", "claude-opus-5-5"),
        ("claude-sonnet-4-0", "claude-sonnet-5-5"),
        ("claude-2.1", "claude-sonnet-5-5"),
        ("claude-instant-1.2", "claude-haiku-5-5"),
        ("claude-mythos-preview", "claude-mythos-5-2"),
    ],
)
def test_a_retired_id_is_served_by_the_current_model_of_its_line_and_reported(name: str, current: str) -> None:
    resolution = MODELS.resolve(name)
    assert (resolution.id, resolution.adjusted) == (current, current)


def test_a_deprecated_model_is_served_until_its_date() -> None:
    facts = MODELS.resolve("claude-sonnet-4-5").facts
    assert (facts.lifecycle, facts.shutdown_date) == ("deprecated", date(2026, 11, 30))


def test_effort_may_follow_the_name() -> None:
    assert MODELS.resolve("opus@xhigh").effort == "xhigh"
    assert MODELS.resolve("claude-3-5-sonnet-20241022@low").adjusted == "claude-sonnet-5-5"


@pytest.mark.parametrize("name", ["opus@enormous", "opus@", "deep@enormous", "claude-opus-5.5@enormous"])
def test_a_word_that_is_no_effort_is_named_with_the_efforts_there_are(name: str) -> None:
    with pytest.raises(NotFound) as caught:
        MODELS.resolve(name, {"deep": "opus"})
    assert caught.value.code == "model_not_found"
    assert caught.value.message.startswith(f"{name.rpartition('@')[2]!r} is no effort.")
    assert "none, minimal, low, medium, high, xhigh, max." in caught.value.message


def test_an_unknown_claude_id_passes_with_the_newest_columns() -> None:
    resolution = MODELS.resolve("claude-opus-7-1")
    facts = resolution.facts
    assert (resolution.id, facts.known, facts.id) == ("claude-opus-7-1", False, "claude-opus-7-1")
    assert (facts.sampling, facts.forced_tool_choice, facts.thinking) == (False, True, ("adaptive",))


@pytest.mark.parametrize("name", ["gpt-4o", "", "claude-", "claude-../../x", "claude-" + "x" * 200, "@high"])
def test_any_other_name_is_not_found_and_the_message_says_what_works(name: str) -> None:
    with pytest.raises(NotFound) as caught:
        MODELS.resolve(name)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "fable" in caught.value.message
    assert len(caught.value.message) < 500


def test_an_alias_wins_over_everything_and_is_not_reported() -> None:
    aliases = {"fast": "haiku", "opus": "claude-opus-4-8", "claude-opus-5-5": "claude-opus-5", "old": "claude-3-opus"}
    assert MODELS.resolve("fast", aliases).id == "claude-haiku-5-5"
    assert MODELS.resolve("opus", aliases).id == "claude-opus-4-8"
    assert MODELS.resolve("claude-opus-5-5", aliases).id == "claude-opus-5"
    assert MODELS.resolve("fast", aliases).adjusted is None


def test_an_alias_to_a_retired_id_reports_the_substitution() -> None:
    assert MODELS.resolve("old", {"old": "claude-3-opus-20240229"}).adjusted == "claude-opus-5-5"


def test_the_effort_of_the_client_wins_over_the_one_of_the_alias() -> None:
    aliases = {"deep": "opus@max"}
    assert MODELS.resolve("deep", aliases).effort == "max"
    assert MODELS.resolve("deep@low", aliases).effort == "low"


@pytest.mark.parametrize("name", ["gpt-5@low", "foo-x@low", "foo-x@20250514@low"])
def test_an_effort_is_found_behind_a_name_that_a_pattern_covers(name: str) -> None:
    resolution = MODELS.resolve(name, MODELS.aliases("openai", {"foo*": "opus@high"}))
    assert (resolution.id, resolution.effort) == ("claude-opus-5-5", "low")


@pytest.mark.parametrize("name", ["gpt-5@bogus", "foo-x@bogus", "foo-x@", "claude-2.1@bogus"])
def test_a_pattern_does_not_swallow_a_word_that_is_no_effort(name: str) -> None:
    with pytest.raises(NotFound, match=r"is no effort.*none, minimal, low, medium, high, xhigh, max"):
        MODELS.resolve(name, MODELS.aliases("openai", {"foo*": "opus"}))


def test_a_name_may_hold_the_sign_of_an_effort() -> None:
    aliases = {"vendor@*": "opus", "mine@low": "haiku", "claude-*": "sonnet"}
    assert MODELS.resolve("vendor@v2", aliases).id == "claude-opus-5-5"
    assert MODELS.resolve("mine@low", aliases) == MODELS.resolve("haiku")
    assert MODELS.resolve("claude-x@20250514", aliases).id == "claude-sonnet-5-5"


def test_aliases_that_lead_in_a_circle_end() -> None:
    with pytest.raises(NotFound):
        MODELS.resolve("a", {"a": "b", "b": "a"})


def test_a_pattern_covers_names_by_prefix_but_no_known_id() -> None:
    aliases = {"claude-*": "haiku", "my-*": "sonnet", "my-big-*": "opus"}
    assert MODELS.resolve("my-model", aliases).id == "claude-sonnet-5-5"
    assert MODELS.resolve("my-big-model", aliases).id == "claude-opus-5-5"
    assert MODELS.resolve("claude-opus-5", aliases).id == "claude-opus-5"
    assert MODELS.resolve("claude-opus-9", aliases).id == "claude-haiku-5-5"


def test_names_are_resolved_anew_for_other_aliases() -> None:
    assert MODELS.resolve("x", {"x": "opus"}).id == "claude-opus-5-5"
    assert MODELS.resolve("x", {"x": "haiku"}).id == "claude-haiku-5-5"
    assert MODELS.resolve("sonnet@low").id == MODELS.resolve("sonnet@low").id


def test_what_was_resolved_is_remembered_only_so_long() -> None:
    table = ModelTable.load(MODELS_TOML)
    first = table.resolve("claude-z-0")
    for number in range(300):
        table.resolve(f"claude-z-{number}")
    assert table.resolve("claude-z-0") == first


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("gpt-4o", "claude-sonnet-5-5"),
        ("gpt-4o-2024-08-06", "claude-sonnet-5-5"),
        ("gpt-4o-mini", "claude-haiku-5-5"),
        ("gpt-4.1-nano", "claude-haiku-5-5"),
        ("gpt-5", "claude-opus-5-5"),
        ("gpt-5-mini-2025-08-07", "claude-sonnet-5-5"),
        ("o1", "claude-opus-5-5"),
        ("o3", "claude-opus-5-5"),
        ("o4-mini", "claude-sonnet-5-5"),
    ],
)
def test_the_preset_serves_names_of_openai(name: str, id_: str) -> None:
    assert MODELS.resolve(name, MODELS.aliases("openai")).id == id_


def test_an_own_alias_beats_the_preset_even_by_a_shorter_pattern() -> None:
    aliases = MODELS.aliases("openai", {"gpt-*": "fable"})
    assert MODELS.resolve("gpt-4o-mini", aliases).id == "claude-fable-5-2"
    assert MODELS.resolve("o3", aliases).id == "claude-opus-5-5"


def test_without_a_preset_only_own_aliases_count() -> None:
    assert dict(MODELS.aliases("none", {"a": "opus"})) == {"a": "opus"}


def test_an_unknown_preset_is_an_error() -> None:
    with pytest.raises(ModelTableError, match="openai"):
        MODELS.aliases("mistral")


def test_every_preset_name_leads_to_a_model() -> None:
    aliases = MODELS.aliases("openai")
    assert all(MODELS.resolve(name.rstrip("*"), aliases).facts.known for name in aliases)


def test_the_list_has_every_served_model_newest_first() -> None:
    ids = [facts.id for facts in MODELS.all()]
    assert ids[0] == "claude-fable-5-2"
    assert "claude-mythos-preview" not in ids
    assert len(ids) == 18


def test_a_model_is_called_by_its_ids_and_by_the_short_names_that_mean_it_today() -> None:
    names = MODELS.names_of("claude-opus-5-5")
    assert names[0] == "claude-opus-5-5"
    assert "opus" in names
    assert "sonnet" not in names
    assert MODELS.names_of("claude-opus-5-5") is names  # asked for with every request


@pytest.mark.parametrize("id_", ["claude-haiku-4-5", "claude-haiku-4-5-20251001"])
def test_a_dated_id_is_called_as_its_model_is(id_: str) -> None:
    assert MODELS.names_of(id_) == ("claude-haiku-4-5", "claude-haiku-4-5-20251001")


def test_a_model_that_is_not_in_the_table_has_one_name() -> None:
    assert MODELS.names_of("claude-next-9") == ("claude-next-9",)


def test_short_names_are_the_lines() -> None:
    assert MODELS.short_names() == ("fable", "mythos", "opus", "sonnet", "haiku")


def test_release_days_have_both_forms() -> None:
    facts = MODELS.resolve("claude-opus-5-5").facts
    assert (facts.created, facts.created_at) == (1790035200, "2026-09-22T00:00:00Z")


@pytest.mark.parametrize("facts", MODELS.all(), ids=lambda facts: facts.id)
def test_columns_of_a_model_fit_together(facts) -> None:  # type: ignore[no-untyped-def]
    assert list(facts.efforts) == [effort for effort in EFFORT_ORDER if effort in facts.efforts]
    assert (facts.default_effort is None) == (not facts.efforts)
    can_be_off = bool({"disabled", "between_tools"} & set(facts.thinking))
    assert (
        can_be_off
        == (facts.thinking_default != "always")
        == (facts.thinking_off_max_effort is not None or (facts.thinking_default == "off"))
    )
    assert facts.price is not None
    assert facts.price.cache_write_5m == pytest.approx(facts.price.input * 1.25)
    assert facts.price.cache_write_1h == pytest.approx(facts.price.input * 2)


def test_a_further_file_changes_single_columns() -> None:
    table = ModelTable.load(
        MODELS_TOML, "[models.claude-opus-5-5]\nmax_output_tokens = 1000\n[lines]\nopus = 'claude-opus-5'"
    )
    assert table.resolve("claude-opus-5-5").facts.max_output_tokens == 1000
    assert table.resolve("claude-opus-5-5").facts.efforts == MODELS.resolve("claude-opus-5-5").facts.efforts
    assert table.resolve("opus").id == "claude-opus-5"


def test_a_new_model_starts_from_the_newest_columns() -> None:
    facts = ModelTable.load(MODELS_TOML, "[models.my-deployment]\nsampling = true").resolve("my-deployment").facts
    assert (facts.sampling, facts.context_tokens, facts.display_name, facts.known) == (
        True,
        1_000_000,
        "my-deployment",
        True,
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models = [", "cannot be read"),
        ("models = 5", "cannot be read"),
        ("[models.claude-opus-5-5]\ncolour = 1", "colour"),
        ("[models.claude-opus-5-5]\nefforts = ['huge']", "efforts"),
        ("[lines]\nopus = 'claude-nope'", "lines.opus"),
        ("[lines]\nmythos = 'claude-mythos-preview'", "lines.mythos"),
        ("[retired]\nold = 'epic'", "retired.'old'"),
        ("[models.gone]\nlifecycle = 'retired'", "models.gone"),
        ("[wrong]\na = 1", "wrong"),
        ("[models]\nclaude-new = 5", "models.claude-new is no table"),
        ("new = " + "[" * 5000, "nested too deeply"),
        ("new = " + "9" * 100_000, "a number in it is too long"),
        ("[models.claude-opus-5-5]\ncontext_tokens = " + "9" * 400, "context_tokens"),
        ("[models.claude-opus-5-5.price]\ninput = " + "9" * 400, "price.input"),
        ("[unknown]\ncontext_tokens = 'many'", "context_tokens"),
    ],
)
def test_a_broken_table_is_refused_with_the_place(text: str, says: str) -> None:
    with pytest.raises(ModelTableError, match=re.escape(says)):
        ModelTable.load(MODELS_TOML, text)


def test_a_table_without_models_is_refused() -> None:
    with pytest.raises(ModelTableError, match="no model"):
        ModelTable.load("[lines]")

import datetime
from typing import Any

import pytest
from anthropic.types import ModelInfo
from openai.types import Model

from app.errors import InvalidRequest
from app.translate.models_list import capabilities, model_object, models_list
from tests.support.chat_requests import MODELS

ALL = MODELS.all()
IDS = [facts.id for facts in ALL]


def ids(page: dict[str, Any]) -> list[str]:
    return [model["id"] for model in page["data"]]


@pytest.mark.parametrize("facts", ALL, ids=IDS)
def test_both_sdks_read_a_model(facts: Any) -> None:
    made = model_object(facts)
    claude, gpt = ModelInfo.model_validate(made), Model.model_validate(made)
    assert claude.created_at == datetime.datetime.fromtimestamp(gpt.created, datetime.UTC)
    assert (claude.max_tokens, gpt.owned_by) == (facts.max_output_tokens, "anthropic")
    assert claude.capabilities is not None
    assert claude.capabilities.thinking.types.enabled.supported == ("enabled" in facts.thinking)


def test_a_model_that_will_go_says_when() -> None:
    made = model_object(MODELS.resolve("claude-sonnet-4-5").facts)
    assert (made["lifecycle"], made["shutdown_date"], made["retires_at"]) == (
        "deprecated",
        "2026-11-30",
        "2026-11-30T00:00:00Z",
    )


def test_without_a_limit_the_whole_list_comes() -> None:
    page = models_list(ALL)
    assert (ids(page), page["has_more"], page["first_id"], page["last_id"]) == (IDS, False, IDS[0], IDS[-1])


def test_pages_follow_each_other() -> None:
    first = models_list(ALL, limit=10)
    second = models_list(ALL, limit=10, after_id=first["last_id"])
    assert ids(first) + ids(second) == IDS
    assert (first["has_more"], second["has_more"]) == (True, False)


def test_a_page_may_be_the_one_before() -> None:
    page = models_list(ALL, limit=2, before_id=IDS[5])
    assert (ids(page), page["has_more"]) == (IDS[3:5], True)
    assert ids(models_list(ALL, before_id=IDS[2])) == IDS[:2]


def test_an_empty_page_has_no_ids() -> None:
    page = models_list(ALL, after_id=IDS[-1])
    assert (page["data"], page["first_id"], page["last_id"]) == ([], None, None)


@pytest.mark.parametrize("query", [{"limit": 0}, {"after_id": "x"}, {"before_id": "x"}])
def test_a_wrong_page_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        models_list(ALL, **query)
    assert caught.value.param == next(iter(query))


def test_capabilities_say_what_a_model_takes() -> None:
    said = capabilities(MODELS.resolve("claude-opus-5-5").facts)
    assert said["tools"]["forced_choice"] is False
    assert "temperature" in said["parameters"]["ignored"]
    assert said["shutdown_date"] is None


def test_capabilities_of_an_older_model_include_sampling() -> None:
    said = capabilities(MODELS.resolve("claude-sonnet-4-5").facts)
    assert {"temperature", "top_p", "top_k"} <= set(said["parameters"]["supported"])
    assert said["shutdown_date"] == "2026-11-30"

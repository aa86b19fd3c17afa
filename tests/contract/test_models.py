"""``GET /v1/models`` as the official clients of OpenAI and of Anthropic read it."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import openai
import pytest
from openai import OpenAI

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL


@pytest.fixture
def anthropic_client(gateway: MockGateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.root, api_key="none", max_retries=0) as client:
        yield client


def test_openai_s_client_lists_the_models(client: OpenAI) -> None:
    models = list(client.models.list())

    assert MODEL in {model.id for model in models}
    assert {model.object for model in models} == {"model"}
    assert {model.owned_by for model in models} == {"anthropic"}
    assert all(model.created > 1_700_000_000 for model in models)


def test_anthropic_s_client_lists_the_same_models(client: OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    models = list(anthropic_client.models.list())

    assert [model.id for model in models] == [model.id for model in client.models.list()]
    assert {model.type for model in models} == {"model"}
    assert all(model.display_name.startswith("Claude ") for model in models)
    assert all(model.created_at.tzinfo is not None for model in models)


def test_anthropic_s_client_pages_through_the_models(anthropic_client: anthropic.Anthropic) -> None:
    everything = [model.id for model in anthropic_client.models.list(limit=1000)]
    page = anthropic_client.models.list(limit=3)

    assert len(page.data) == 3
    assert [model.id for model in page] == everything


def test_a_retired_model_is_shown_as_the_one_that_serves_it(client: OpenAI) -> None:
    assert client.models.retrieve("claude-3-5-sonnet-20241022").id == MODEL


def test_both_clients_retrieve_a_model(client: OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    openai_s, anthropic_s = client.models.retrieve(MODEL), anthropic_client.models.retrieve(MODEL)

    assert openai_s.id == anthropic_s.id == MODEL
    assert openai_s.created == int(anthropic_s.created_at.timestamp())
    assert anthropic_s.max_input_tokens == 1_000_000
    assert anthropic_s.max_tokens == 128_000


def test_a_model_that_nobody_knows_is_not_found_by_openai_s_client(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4o")

    assert caught.value.code == "model_not_found"


def test_a_model_that_nobody_knows_is_not_found_by_anthropic_s_client(anthropic_client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.models.retrieve("gpt-4o")


def test_every_listed_model_can_be_retrieved_with_its_capabilities(client: OpenAI) -> None:
    for model in client.models.list():
        assert client.models.retrieve(model.id).id == model.id
        assert client.get(f"/models/{model.id}/capabilities", cast_to=dict)


def test_every_active_model_answers(client: OpenAI) -> None:
    for model in client.models.list():
        if (model.model_extra or {}).get("lifecycle") == "active":
            completion = client.chat.completions.create(model=model.id, messages=[{"role": "user", "content": "Hi"}])
            assert completion.model == model.id

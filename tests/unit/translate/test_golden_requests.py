"""The golden cases of requests (``spec/golden`` 01-07, 12) and of the models list (16)."""

import json
from typing import Any

import pytest

from app.domain.models import ModelFacts
from app.translate.models_list import model_object, models_list
from tests.support.chat_requests import MODELS, adjusted, call, ignored
from tests.support.golden import golden


def variants() -> list[Any]:
    found = []
    for number in (1, 2, 3, 4, 5, 6, 7, 12):
        case = golden(number)
        for variant in case.get("variants", [case]):
            request = {**case["in"], **({"model": variant["model"]} if "model" in variant else {})}
            found.append(pytest.param(case, variant, request, id=f"{number:02d}-{request['model']}"))
    return found


def settings_of(case: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in case["config"].items() if name != "user_hash"}


def expected_body(case: dict[str, Any], variant: dict[str, Any], got: dict[str, Any]) -> dict[str, Any]:
    if "out" in variant:
        body: dict[str, Any] = variant["out"]["body"]
        if "metadata" in body:
            body["metadata"]["user_id"] = got["metadata"]["user_id"]
        return body
    body = {**variant["body_without_schema"], "messages": got["messages"]}
    schema = {"type": "json_schema", "schema": case["transformed_schema"]}
    return {**body, "output_config": {**body["output_config"], "format": schema}}


@pytest.mark.parametrize(("case", "variant", "request_"), variants())
def test_upstream_body(case: dict[str, Any], variant: dict[str, Any], request_: dict[str, Any]) -> None:
    got = json.loads(call(request_, **settings_of(case)).body)
    assert got == expected_body(case, variant, got)


@pytest.mark.parametrize(("case", "variant", "request_"), variants())
def test_upstream_headers(case: dict[str, Any], variant: dict[str, Any], request_: dict[str, Any]) -> None:
    made = call(request_, **settings_of(case))
    headers = variant.get("out", {}).get("headers", {"anthropic-version": "2026-10-21"})
    assert made.anthropic_version == headers["anthropic-version"]
    assert ",".join(made.betas) == headers.get("anthropic-beta", "")


@pytest.mark.parametrize(("case", "variant", "request_"), variants())
def test_report(case: dict[str, Any], variant: dict[str, Any], request_: dict[str, Any]) -> None:
    headers = variant.get("response_headers", {})
    options = settings_of(case)
    assert ", ".join(ignored(request_, **options)) == headers.get("x-claude-wrapper-ignored-params", "")
    assert ", ".join(f"{path}={value}" for path, value in adjusted(request_, **options).items()) == headers.get(
        "x-claude-wrapper-adjusted-params", ""
    )


def opus() -> ModelFacts:
    return MODELS.resolve("claude-opus-5-5").facts


def test_models_list_has_every_field_of_the_golden_case() -> None:
    expected = golden(16)["out"]
    got = models_list([opus()])
    assert got | {"data": None} == expected | {"data": None}
    assert model_object(opus()) | expected["data"][0] == model_object(opus())

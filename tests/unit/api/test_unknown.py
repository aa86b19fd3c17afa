"""What is said about a URL that is no route."""

from __future__ import annotations

import pytest

from app.api.unknown import unknown_url

ROUTES = ["/", "/docs", "/health", "/v1/chat/completions", "/v1/compatibility", "/v1/models", "/v1/models/{model}"]


def said(path: str, method: str = "POST") -> str:
    error = unknown_url(method, path, ROUTES)
    assert error.code == "unknown_url"
    return error.message


@pytest.mark.parametrize(
    "path",
    [
        "/v1/embeddings",
        "/v1/images/generations",
        "/v1/audio/speech",
        "/v1/moderations",
        "/v1/fine_tuning/jobs",
        "/v1/files",
        "/v1/files/file-1/content",
        "/v1/batches",
        "/v1/assistants",
        "/v1/threads/t/runs",
        "/v1/vector_stores",
        "/v1/realtime/sessions",
        "/v1/uploads",
        "/v1/evals",
        "/v1/videos",
        "/embeddings",
    ],
)
def test_endpoints_that_claude_cannot_serve_are_named_so(path: str) -> None:
    assert said(path).startswith("Claude has no endpoint for ")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses",
        "/v1/responses/resp_1",
        "/v1/completions",
        "/v1/conversations",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/responses",
        "/v1/v1/messages",
    ],
)
def test_routes_of_later_releases_are_named_so(path: str) -> None:
    assert said(path).startswith("This release of the gateway does not have ")


def test_a_missing_v1_is_noticed() -> None:
    assert said("/chat/completions") == (
        "Unknown request URL: POST /chat/completions. Did you mean /v1/chat/completions?"
        " Give your client a base URL that ends in /v1."
    )


@pytest.mark.parametrize("path", ["/v1/v1/chat/completions", "/v1/v1/v1/chat/completions"])
def test_a_doubled_v1_is_noticed(path: str) -> None:
    assert "The path has /v1 twice (did you mean /v1/chat/completions?)" in said(path)


def test_a_doubled_v1_before_something_unknown_is_noticed_too() -> None:
    assert "The path has /v1 twice: the base URL" in said("/v1/v1/nonsense")


@pytest.mark.parametrize(
    "path", ["/api/v1/chat/completions", "/openai/deployments/gpt/chat/completions", "/openai/v1/models"]
)
def test_a_foreign_prefix_is_noticed(path: str) -> None:
    assert "Did you mean /v1/" in said(path)


@pytest.mark.parametrize(
    ("path", "meant"),
    [("/v1/chat/completion", "/v1/chat/completions"), ("/v1/model", "/v1/models"), ("/helth", "/health")],
)
def test_a_misspelt_route_is_corrected(path: str, meant: str) -> None:
    assert said(path).endswith(f"Did you mean {meant}?")


def test_anything_else_points_to_the_documentation() -> None:
    assert said("/v1/foo", "GET") == (
        "Unknown request URL: GET /v1/foo. Please check the URL for typos; GET /docs lists the routes."
    )


def test_a_very_long_url_is_cut() -> None:
    assert len(said("/v1/" + "x" * 10_000)) < 400

"""The OpenAPI document is valid, complete and true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema.exceptions import ValidationError
from litestar import Litestar, get
from litestar.routes import HTTPRoute
from msgspec.structs import fields
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

from app.api.middleware import GatewayApp
from app.api.openapi import ERRORS, build_document
from app.api.openapi_chat import REQUEST_FIELDS
from app.api.routes import create_litestar
from app.config import Config
from app.schemas.openai_chat import AssistantMessage, ChatRequest, ToolMessage
from app.translate.chat_to_messages import decode_chat_request
from tests.support.asgi import call
from tests.support.services import make_services

GOLDEN = Path(__file__).parents[2] / "golden"


SERVICES = make_services()
APP = create_litestar(SERVICES)
GATEWAY = GatewayApp(APP, SERVICES)


def document(*, protected: bool = False) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(build_document(APP, protected=protected))
    return loaded


DOCUMENT = document()


def matches(name: str, value: Any) -> None:
    """Validates a value against a schema of the document."""
    OAS30Validator({"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}).validate(value)


async def answer(path: str) -> Any:
    return (await call(GATEWAY, "GET", path)).json()


@pytest.mark.parametrize("protected", [False, True])
def test_the_document_is_valid(protected: bool) -> None:
    validate(document(protected=protected))


def test_every_route_and_method_is_documented_and_nothing_else() -> None:
    routes = {
        (route.path_format, method.lower())
        for route in APP.routes
        if isinstance(route, HTTPRoute)
        for method in route.route_handler_map
        if method != "OPTIONS"
    }
    assert {(path, method) for path, item in DOCUMENT["paths"].items() for method in item} == routes


def test_a_route_without_a_document_is_refused() -> None:
    @get("/secret")
    async def secret() -> None:
        return None

    with pytest.raises(TypeError, match="not documented"):
        build_document(Litestar([secret], openapi_config=None, logging_config=None), protected=False)


def test_both_addresses_serve_the_same_document() -> None:
    assert set(DOCUMENT["paths"]) >= {"/openapi.json", "/swagger.json"}


async def test_the_served_document_is_the_built_one_and_stays() -> None:
    services = make_services(config=Config(api_key="gateway-key-for-tests"))
    app = GatewayApp(create_litestar(services), services)
    first, second = await call(app, "GET", "/openapi.json"), await call(app, "GET", "/swagger.json")
    assert first.body == second.body
    assert first.headers["content-type"] == "application/json"
    assert first.json()["security"] == [{"bearer": []}, {"apiKey": []}]


def test_on_a_protected_gateway_only_what_is_open_needs_no_key() -> None:
    paths = document(protected=True)["paths"]
    open_paths = {
        path for path, item in paths.items() for operation in item.values() if operation.get("security") == []
    }
    assert open_paths == {
        "/dashboard",
        "/docs",
        "/docs/{file}",
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        "/swagger.json",
        "/v1/auth/status",
    }
    assert "401" in paths["/v1/models"]["get"]["responses"]
    assert "401" not in paths["/health"]["get"]["responses"]


def test_the_chat_route_names_every_error_that_it_may_answer() -> None:
    responses = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["responses"]
    expected = {"200", *(str(status) for status in ERRORS if status != 405)}
    assert set(responses) == expected


def test_every_error_has_the_one_shape_and_the_request_id() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        assert response["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        assert "x-request-id" in response["headers"]


def test_every_code_that_is_named_is_one_that_the_gateway_knows() -> None:
    source = "".join(path.read_text() for path in Path("app").rglob("*.py") if "openapi" not in path.name)
    named = {code for text in ERRORS.values() for code in re.findall(r"`([a-z_]+)`", text)} - {"param", "allow"}
    assert {code for code in named if f'"{code}"' not in source} == set()


def test_the_stream_is_documented_as_server_sent_events() -> None:
    content = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}


def test_every_field_of_a_chat_request_is_described() -> None:
    assert set(REQUEST_FIELDS) == set(ChatRequest.__struct_fields__)


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/", "About"),
        ("/health", "Health"),
        ("/health/live", "Probe"),
        ("/health/ready", "Probe"),
        ("/health/detailed", "DetailedHealth"),
        ("/v1/auth/status", "AuthStatus"),
        ("/v1/models", "ModelList"),
        ("/v1/models/opus", "Model"),
        ("/v1/models/opus/capabilities", "ModelCapabilities"),
        ("/v1/foo", "Error"),
        ("/v1/models/gpt-4o", "Error"),
    ],
)
async def test_replies_are_as_documented(path: str, schema: str) -> None:
    matches(schema, await answer(path))


def golden(name: str) -> Any:
    return json.loads((GOLDEN / "spec" / f"{name}.json").read_text())


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("spec/*_chat_request_*.json")), ids=lambda path: path.stem)
def test_the_golden_requests_are_as_documented(path: Path) -> None:
    matches("ChatRequestParam", {"model": "opus", **golden(path.stem)["in"]})


def test_the_golden_reply_is_as_documented() -> None:
    matches("ChatCompletion", golden("08_chat_response_thinking_tools")["out"])


def test_the_golden_chunks_are_as_documented() -> None:
    chunks = [chunk for chunk in golden("10_chat_stream_thinking_text_tools")["out"] if "object" in chunk]
    assert chunks
    for chunk in chunks:
        matches("ChatCompletionChunk", chunk)


def test_the_golden_errors_are_as_documented() -> None:
    for case in golden("15_errors")["cases"]:
        matches("Error", case["out"]["body"])
        assert case["out"]["status"] in ERRORS


def test_the_examples_are_as_documented() -> None:
    for item in DOCUMENT["paths"].values():
        for operation in item.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                schema = media["schema"]["$ref"].rpartition("/")[2]
                for example in media["examples"].values():
                    matches(schema, example["value"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "opus"},
        {"model": 1, "messages": []},
        {"model": "opus", "messages": [{"role": "user"}]},
        {"model": "opus", "messages": [], "reasoning_effort": "very"},
    ],
)
def test_the_schema_of_a_request_refuses_what_is_wrong(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        matches("ChatRequestParam", wrong)


MESSAGES: dict[str, dict[str, Any]] = {
    "ToolMessage": {"role": "tool", "tool_call_id": "call_1", "content": "x"},
    "AssistantMessage": {"role": "assistant", "content": "x"},
}
OPTIONAL = [
    *(("ChatRequest", field.encode_name) for field in fields(ChatRequest) if not field.required),
    *(("ToolMessage", field.encode_name) for field in fields(ToolMessage) if not field.required),
    *(("AssistantMessage", field.encode_name) for field in fields(AssistantMessage) if not field.required),
]


@pytest.mark.parametrize(("struct", "field"), OPTIONAL)
def test_a_field_that_may_be_null_is_nullable(struct: str, field: str) -> None:
    request: dict[str, Any] = {"model": "sonnet", "messages": [{"role": "user", "content": "x"}]}
    if struct == "ChatRequest":
        request[field] = None
    else:
        request["messages"].append({**MESSAGES[struct], field: None})
    decode_chat_request(json.dumps(request).encode())
    matches("ChatRequestParam", request)
    assert DOCUMENT["components"]["schemas"][f"{struct}Param"]["properties"][field]["nullable"] is True


def test_a_key_may_be_rotated_without_a_body_and_changed_only_with_one() -> None:
    paths = document(protected=True)["paths"]
    assert paths["/admin/keys/{key_id}/rotate"]["post"]["requestBody"]["required"] is False
    assert paths["/admin/keys/{key_id}"]["patch"]["requestBody"]["required"] is True


@pytest.mark.parametrize(("path", "method"), [("", "patch"), ("", "delete"), ("/rotate", "post"), ("/revoke", "post")])
def test_what_changes_a_key_may_meet_another_change(path: str, method: str) -> None:
    assert "409" in document(protected=True)["paths"][f"/admin/keys/{{key_id}}{path}"][method]["responses"]


def test_a_note_is_a_text_or_null() -> None:
    notes = DOCUMENT["components"]["schemas"]["KeyChangesParam"]["properties"]["metadata"]
    assert (notes["type"], notes["nullable"]) == ("object", True)
    assert notes["additionalProperties"] == {"type": "string", "nullable": True}


def test_detailed_health_says_that_it_needs_the_key() -> None:
    operation = document(protected=True)["paths"]["/health/detailed"]["get"]
    assert "settings" in operation["description"]
    assert "scope `admin`" in operation["description"]
    assert "403" in operation["responses"]
    assert "security" not in operation


def test_the_root_needs_the_key() -> None:
    operation = document(protected=True)["paths"]["/"]["get"]
    assert "security" not in operation
    assert "401" in operation["responses"]


def test_the_routes_of_the_operator_need_a_key_without_protection_too() -> None:
    operation = document(protected=False)["paths"]["/admin/keys"]["get"]
    assert operation["security"] == [{"bearer": []}, {"apiKey": []}]
    assert {"401", "403"} <= operation["responses"].keys()


def test_whoever_tries_many_keys_is_slowed_on_every_protected_route() -> None:
    operation = document(protected=True)["paths"]["/v1/models"]["get"]
    assert "429" in operation["responses"]

"""The document of the model routes, whose bodies are made in ``translate/models_list.py``."""

from __future__ import annotations

from app.api.openapi_schemas import REF
from app.api.operation import Json


def _object(description: str, **properties: Json) -> Json:
    """An object whose properties are all there."""
    return {"type": "object", "description": description, "required": list(properties), "properties": properties}


def _text(description: str = "", *, nullable: bool = False) -> Json:
    schema: Json = {"type": "string"}
    if nullable:
        schema["nullable"] = True
    return {**schema, "description": description} if description else schema


def _list_of(items: Json, description: str) -> Json:
    return {"type": "array", "items": items, "description": description}


def _whole(description: str) -> Json:
    return {"type": "integer", "description": description}


def _flag(description: str) -> Json:
    return {"type": "boolean", "description": description}


_LIFECYCLE: Json = {"type": "string", "enum": ["active", "deprecated", "retired"]}

_MODEL = _object(
    "A model, as OpenAI's `Model` and Anthropic's `ModelInfo` at once.",
    id=_text(),
    object={"type": "string", "enum": ["model"]},
    type={"type": "string", "enum": ["model"]},
    created=_whole("Day of release in Unix seconds."),
    created_at=_text("Day of release, RFC 3339."),
    owned_by=_text(),
    display_name=_text(),
    lifecycle=_LIFECYCLE,
    line=_text("Family of models, such as `opus`.", nullable=True),
    max_input_tokens=_whole("Size of the context."),
    max_tokens=_whole("Longest answer."),
    shutdown_date=_text("Day on which Anthropic ends it.", nullable=True),
    retires_at=_text("The same, RFC 3339.", nullable=True),
    capabilities={
        "type": "object",
        "description": 'In Anthropic\'s shape: every leaf is `{"supported": ...}` and says what this gateway serves.',
        "additionalProperties": {"type": "object"},
    },
)

_MODEL_LIST = _object(
    "OpenAI's list and Anthropic's page at once.",
    object={"type": "string", "enum": ["list"]},
    data=_list_of({"$ref": f"{REF}Model"}, "Newest first."),
    has_more=_flag("There is a further page."),
    first_id=_text("For `before_id`.", nullable=True),
    last_id=_text("For `after_id`.", nullable=True),
)

_CAPABILITIES = _object(
    "What a model can do through this gateway.",
    id=_text(),
    object={"type": "string", "enum": ["model.capabilities"]},
    known=_flag("It is in the gateway's table; else the newest generation is assumed."),
    display_name=_text(),
    line=_text(nullable=True),
    lifecycle=_LIFECYCLE,
    shutdown_date=_text(nullable=True),
    endpoints=_list_of({"type": "string"}, "Routes that serve it."),
    context_tokens=_whole("Size of the context."),
    max_output_tokens=_whole("Longest answer."),
    input=_list_of({"type": "string", "enum": ["text", "image", "pdf"]}, "What may be sent."),
    output=_list_of({"type": "string", "enum": ["text"]}, "What comes back."),
    streaming=_flag("Answers can be streamed."),
    reasoning=_object(
        "How it thinks.",
        thinking=_list_of({"type": "string"}, "Anthropic's types of thinking that it accepts."),
        default={"type": "string", "enum": ["always", "on", "off"], "description": "Without being asked."},
        efforts=_list_of({"type": "string"}, "Levels of effort."),
        default_effort=_text(nullable=True),
        bound_to_conversation=_flag("Thinking handed back is valid only in the same conversation."),
        bound_to_account=_flag("Thinking handed back is valid only under the same account."),
    ),
    tools=_object(
        "What tools it can use.",
        function=_flag("Functions."),
        custom=_flag("Custom tools."),
        web_search=_flag("Anthropic's web search."),
        parallel_calls=_flag("Several calls in one answer."),
        forced_choice=_flag("A tool call can be forced."),
        strict=_flag("`strict` is enforced."),
    ),
    structured_outputs=_flag("A JSON schema is enforced."),
    prefill=_flag("The last message may be the beginning of the answer."),
    mid_conversation_system=_flag("System messages may stand inside the conversation."),
    parameters=_object(
        "Parameters of a chat request.",
        supported=_list_of({"type": "string"}, "Have their effect."),
        ignored=_list_of({"type": "string"}, "Are ignored and reported."),
    ),
)

MODEL_SCHEMAS: dict[str, Json] = {"Model": _MODEL, "ModelList": _MODEL_LIST, "ModelCapabilities": _CAPABILITIES}

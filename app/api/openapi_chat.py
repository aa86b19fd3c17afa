"""The document of the chat routes: what each field of a request does here, replies, events of a stream.

The schemas come from the structs that the translators use; here stand the words. Source: spec/chat-completions.md.
"""

from __future__ import annotations

from app.api.openapi_schemas import REF, describe, reply_schemas, request_schemas
from app.api.operation import Json, Parameter, operation
from app.schemas.openai_chat import ChatRequest
from app.schemas.openai_chat_reply import ChatCompletion, ChunkDelta
from app.translate.compatibility import Compatibility

_IGNORED = "Has no counterpart at Claude: ignored and reported."

#: What each field of a chat request does here.
REQUEST_FIELDS = {
    "model": "A Claude model id (`GET /v1/models` lists them), a short name such as `opus` or `sonnet`, or a name that "
    "the operator has configured. Retired ids are served by the current model of the same line and reported as "
    "adjusted. `@low` ... `@max` at the end sets the effort.",
    "messages": "The conversation, at least one message. Text, images (`data:` URLs or addresses), PDF and text files.",
    "audio": 'Audio output cannot be served: 400 together with `modalities: ["audio"]`, else ignored.',
    "frequency_penalty": _IGNORED,
    "function_call": "Legacy form of `tool_choice`.",
    "functions": "Legacy form of `tools`.",
    "logit_bias": _IGNORED,
    "logprobs": _IGNORED,
    "max_completion_tokens": "Upper bound of the answer, thinking included; cut to the model's maximum. Without it the "
    "gateway's default applies.",
    "max_tokens": "Older name of `max_completion_tokens`, which wins.",
    "metadata": "Kept for the gateway's log. `user_id` counts as `user`.",
    "modalities": 'Only `["text"]`.',
    "moderation": "A policy with mode `block` is refused; `score` is ignored.",
    "n": "Number of answers, 1 to 8; each is a call of its own.",
    "parallel_tool_calls": "`false`: at most one tool call in an answer.",
    "prediction": _IGNORED,
    "presence_penalty": _IGNORED,
    "prompt_cache_key": "Requests with the same key use the same upstream account, whose prompt cache they share.",
    "prompt_cache_options": "`explicit`: only the marked places are cached. `ttl` above 5 minutes asks for one hour.",
    "prompt_cache_retention": "`24h` asks for the longest cache, one hour.",
    "reasoning_effort": "How much Claude thinks. Adjusted to what the model has; shows the reasoning in the reply.",
    "response_format": "`json_schema` is guaranteed by the model; `json_object` is asked for in words and reported.",
    "safety_identifier": "Like `user`; wins over it.",
    "seed": _IGNORED,
    "service_tier": "`auto`, `default` and `priority` are mapped; `flex` and `scale` ignored; `fast` needs a setting.",
    "stop": "Up to four texts that end the answer.",
    "store": "Nothing is stored: `true` is ignored.",
    "stream": "`true`: the answer comes as server-sent events.",
    "stream_options": "`include_usage`: the stream ends with a chunk that has the usage.",
    "temperature": "Only on models that accept it, 0 to 1 (above is cut to 1); ignored elsewhere and with thinking.",
    "tool_choice": "`required` and named tools are forced where the model accepts that, else asked for and reported.",
    "tools": "Functions and custom tools. `strict` is enforced where the schema allows it.",
    "top_logprobs": _IGNORED,
    "top_p": "As `temperature`, which wins.",
    "user": "Sent to Anthropic only as a salted pseudonym.",
    "verbosity": _IGNORED,
    "web_search_options": "Lets Claude search the web; the sources come as annotations.",
    "anthropic": "Extension, off by default: merged over the request that goes to Anthropic.",
    "betas": "Extension: names for `anthropic-beta`; the operator allows them.",
    "cache_control": "Extension: Anthropic's prompt-cache marker for the whole request.",
    "include_reasoning": "Extension: `true` shows `reasoning_content` and `thinking_blocks`; `details` adds "
    "OpenRouter's form.",
    "inference_geo": "Extension: Anthropic's `inference_geo`.",
    "output_config": "Extension: Anthropic's `output_config`.",
    "prewarm": "Extension: `true` with a bound of 0 tokens only fills the prompt cache.",
    "session_id": "The session of this turn, whose history is kept by the gateway: send only the new messages.",
    "thinking": "Extension: Anthropic's `thinking`, verbatim; wins over `reasoning_effort`.",
    "top_k": "Extension: as `temperature`.",
}

_REQUEST = (
    "OpenAI's fields and, marked as such, extensions. `null` counts as absent. Fields that are not listed are ignored "
    "and reported."
)

_CHUNK_USAGE = "In the last chunk, when `stream_options.include_usage` was set; null in the others then."

_CHUNK: Json = {
    "type": "object",
    "description": "One event of a stream, as `data: {...}`. The stream ends with `data: [DONE]`; a failure after its "
    'beginning comes as `data: {"error": {...}}` and is not followed by `[DONE]`. Lines that begin with a colon are '
    "keep-alive comments.",
    "required": ["id", "object", "created", "model", "choices"],
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string", "enum": ["chat.completion.chunk"]},
        "created": {"type": "integer", "description": "Unix seconds; one value for all chunks."},
        "model": {"type": "string"},
        "choices": {
            "type": "array",
            "description": "Empty in the last chunk when `stream_options.include_usage` was set.",
            "items": {
                "type": "object",
                "required": ["index", "delta"],
                "properties": {
                    "index": {"type": "integer"},
                    "delta": {"$ref": f"{REF}ChunkDelta"},
                    "finish_reason": {"type": "string", "nullable": True},
                    "logprobs": {"type": "object", "nullable": True},
                },
            },
        },
        "service_tier": {"type": "string"},
        "system_fingerprint": {"type": "string", "nullable": True},
    },
}


#: A piece of a tool call: the first has ``id``, ``type`` and the name, the others add to the arguments.
_CHUNK_TOOL_CALLS: Json = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["index"],
        "properties": {
            "index": {"type": "integer", "description": "Which call of the message is added to."},
            "id": {"type": "string"},
            "type": {"type": "string", "enum": ["function", "custom"]},
            "function": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "arguments": {"type": "string"}},
            },
            "custom": {"type": "object", "properties": {"name": {"type": "string"}, "input": {"type": "string"}}},
        },
    },
}

_EXAMPLES: dict[str, Json] = {
    "plain": {"model": "sonnet", "messages": [{"role": "user", "content": "What is the capital of France?"}]},
    "streamed": {
        "model": "sonnet",
        "messages": [{"role": "user", "content": "Tell me a short story."}],
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "tools": {
        "model": "sonnet",
        "messages": [{"role": "user", "content": "What is the weather in Rome?"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "get_weather",
                    "parameters": {
                        "type": "object",
                        "properties": {"city": {"type": "string"}},
                        "required": ["city"],
                    },
                },
            }
        ],
    },
}


def chat_schemas() -> dict[str, Json]:
    """The schemas of the chat routes, by name. Requests end in ``Param``, as in OpenAI's own libraries."""
    requests = request_schemas([ChatRequest])
    request = describe(requests["ChatRequestParam"], REQUEST_FIELDS)
    requests["ChatRequestParam"] = {**request, "description": _REQUEST}
    replies = reply_schemas([ChatCompletion, ChunkDelta])
    delta = replies["ChunkDelta"]
    delta["description"] = "What a chunk adds to the message of its choice."
    delta["properties"]["tool_calls"] = _CHUNK_TOOL_CALLS
    # Only a schema in place can be nullable in OpenAPI 3.0, not a reference to one.
    usage = {**replies["ChatUsage"], "nullable": True, "description": _CHUNK_USAGE}
    chunk = {**_CHUNK, "properties": {**_CHUNK["properties"], "usage": usage}}
    return {**requests, **replies, "ChatCompletionChunk": chunk}


_STRICT = Parameter(
    name="x-claude-wrapper-strict",
    place="header",
    description="`1`: a parameter that would be ignored or adjusted is refused with 400; `0`: it is not, whatever the "
    "setting says.",
    schema={"type": "string", "enum": ["0", "1"]},
)
_THINKING = Parameter(
    name="x-claude-max-thinking-tokens",
    place="header",
    description="Thinking budget in tokens. The original wrapper's other `X-Claude-*` headers are reported as ignored.",
    schema={"type": "integer", "minimum": 0},
)

_SESSION = Parameter(
    name="x-session-id",
    place="header",
    description="The session that this turn belongs to, as `session_id` in the body: send only the new messages. It "
    "needs the scope `sessions`.",
    schema={"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"},
)
_SESSION_WAIT = Parameter(
    name="x-claude-wrapper-session-wait",
    place="header",
    description="Seconds to wait for another turn that holds the session, up to the setting; 0 does not wait.",
    schema={"type": "number", "minimum": 0, "maximum": 86_400},
)
_SESSION_CONFLICT = Parameter(
    name="x-claude-wrapper-session-conflict",
    place="header",
    description="When the session is not free in time: `error` answers 409 `conversation_locked`, `fork` goes on in a "
    "copy, which `x-claude-wrapper-session` names.",
    schema={"type": "string", "enum": ["error", "fork"]},
)
_IDEMPOTENCY = Parameter(
    name="idempotency-key",
    place="header",
    description="A retry with the same key gets the first answer, also while that is still being made; with another "
    "request it gets 422.",
    schema={"type": "string", "minLength": 1, "maxLength": 255},
)
_CACHE = Parameter(
    name="cache-control",
    place="header",
    description="`max-age=N` takes an answer from the response cache that is not older than N seconds, and keeps its "
    "own as long; `no-cache` makes a fresh one; `no-store` keeps none.",
    schema={"type": "string"},
)

CHAT_COMPLETIONS = operation(
    "createChatCompletion",
    tag="chat",
    summary="Chat completion, plain or streamed",
    description="OpenAI's chat completions, answered by Claude. What of a request had no effect or was changed is "
    "named in `x-claude-wrapper-ignored-params` and `x-claude-wrapper-adjusted-params`.",
    request="ChatRequestParam",
    examples=_EXAMPLES,
    parameters=(_STRICT, _THINKING, _SESSION, _SESSION_WAIT, _SESSION_CONFLICT, _IDEMPOTENCY, _CACHE),
    replies={200: ("The answer; with `stream: true` as server-sent events.", ChatCompletion)},
    streams="ChatCompletionChunk",
    errors=(400, 401, 403, 404, 408, 409, 413, 422, 429, 501, 502, 504),
    reply_headers=(
        "ignored",
        "adjusted",
        "upstream-request-id",
        "rate-limits",
        "session",
        "session-changes",
        "turn",
        "cache",
    ),
)

COMPATIBILITY = operation(
    "checkCompatibility",
    tag="chat",
    summary="What would become of each parameter",
    description="Takes a chat request and says of each parameter whether it is mapped, adjusted, ignored or refused. "
    "Claude is not called.",
    request="ChatRequestParam",
    examples=_EXAMPLES,
    parameters=(_STRICT, _THINKING, _SESSION),
    replies={200: ("The report.", Compatibility)},
    errors=(400, 401, 404, 408, 413),
)

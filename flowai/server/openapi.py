"""OpenAPI document of the server, built from the records of bodies and answers.

Source: OpenAPI Specification 3.2 (`itemSchema` describes one event of a stream).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai import __version__
from flowai.server.completion.chat.bodies import NO_OP_VALUES as CHAT_NO_OP_VALUES
from flowai.server.completion.chat.bodies import ChatBody
from flowai.server.completion.chat.reply import ChatReply, ChunkReply
from flowai.server.completion.messages.bodies import BLOCK_TYPES, CountTokensBody, MessagesBody
from flowai.server.completion.messages.bodies import NO_OP_VALUES as MESSAGES_NO_OP_VALUES
from flowai.server.completion.messages.reply import MessageReply, TokenCountReply
from flowai.server.completion.responses.bodies import CONTENT_TYPES, ResponsesBody
from flowai.server.completion.responses.bodies import NO_OP_VALUES as RESPONSES_NO_OP_VALUES
from flowai.server.completion.responses.reply import ResponseReply
from flowai.server.schemas.requests import EmbeddingsBody, FeedbackBody, ScoreBody
from flowai.server.schemas.responses import EmbeddingsReply, ModelReply, ModelsReply
from flowai.storage.json_schema import schema_components

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_RECORDS = (
    *(ChatBody, ResponsesBody, MessagesBody, CountTokensBody, EmbeddingsBody, FeedbackBody, ScoreBody),
    *(ChatReply, ChunkReply, ResponseReply, MessageReply, TokenCountReply, EmbeddingsReply, ModelReply, ModelsReply),
)
_REF = "#/components/schemas/"
_ERRORS: Mapping[str, str] = {
    "400": "invalid parameter or variables, or above the context's length, the content policy or the token budget",
    "401": "missing, unknown or expired key",
    "403": "request from a page of another site, or metrics with a key that may call only some names",
    "404": "no such feature, model, call or path",
    "405": "method not allowed for this path",
    "408": "the body did not arrive in time",
    "409": "a request with this `Idempotency-Key` is still running",
    "413": "the body is too long",
    "415": "the body is not plain JSON",
    "421": "the `Host` is not this machine",
    "422": "the `Idempotency-Key` was used with another body",
    "429": "a limit of the tenant or the feature's daily budget is reached, or too many look-ups of calls; "
    "`Retry-After` is the time to wait",
    "431": "too many or too long headers",
    "500": "the project is misconfigured, or a bug in flowai",
    "502": "all models of the fallback chain failed",
    "503": "overloaded, shutting down, or all providers rate-limited or behind open breakers; with `Retry-After`",
    "504": "no model answered in time",
}
_ANSWER_HEADERS: Mapping[str, str] = {
    "X-Flowai-Call-Id": "id of the call, for feedback and the event log",
    "X-Flowai-Release": "the release that served",
    "X-Flowai-Variant": "variant of the rollout",
    "X-Flowai-Experiment": "name of the experiment",
    "X-Flowai-Arm": "arm of the experiment",
    "X-Flowai-Model": "name of the model in the registry; a stream that restarts may end with another",
    "X-Flowai-Degraded": "`true` when the last resort answers, else `false`",
    "X-Flowai-Disclaimer": "text for the user with a degraded answer; percent-encoded UTF-8 beyond printable ASCII",
    "X-Flowai-Cache": "`miss`, `exact` or `semantic`",
    "X-Flowai-Json-Valid": "whether the answer is the requested JSON; not at a stream's start",
    "X-Flowai-Cost-Usd": "cost of the call, US dollars; not at a stream's start",
}


def openapi_document() -> dict[str, Any]:
    """Build the document."""
    return {
        "openapi": "3.2.0",
        "info": {
            "title": "flowai",
            "version": __version__,
            "description": "A gateway for OpenAI's and Anthropic's clients: change a base URL for fallback and canary.",
        },
        "paths": {
            "/v1/chat/completions": {
                "post": _completion(
                    "complete a chat with a feature or a model",
                    ("ChatReply", "ChatBody"),
                    "a ChunkReply, or `[DONE]` at the end; a stream that fails ends with an Error, without `[DONE]`",
                ),
            },
            "/v1/responses": {
                "post": _completion(
                    "create a response with a feature or a model (OpenAI's Responses API)",
                    ("ResponseReply", "ResponsesBody"),
                    "an event of the Responses API; a stream that fails ends with `error` and `response.failed`",
                ),
            },
            "/v1/messages": {
                "post": _anthropic(
                    _completion(
                        "create a message with a feature or a model (Anthropic's Messages API)",
                        ("MessageReply", "MessagesBody"),
                        "an event of the Messages API; a stream that fails ends with `error`",
                    )
                ),
            },
            "/v1/messages/count_tokens": {
                "post": _anthropic(
                    _operation("count the tokens of a message", "TokenCountReply", "CountTokensBody", tag="models")
                ),
            },
            "/v1/embeddings": {
                "post": _operation("embed texts", "EmbeddingsReply", "EmbeddingsBody", tag="models"),
            },
            "/v1/feedback": {"post": _recorded("record feedback on an answer", "FeedbackBody")},
            "/v1/score": {"post": _recorded("record a judge's score of an answer", "ScoreBody")},
            "/v1/models": {"get": _operation("list features and models", "ModelsReply", tag="models")},
            "/v1/models/{name}": {"get": _model()},
            "/healthz": {"get": _plain("check that the process runs", _object("status"), tag="operation")},
            "/readyz": {"get": _ready()},
            "/metrics": {"get": _plain("return metrics for Prometheus", {"type": "string"}, kind="text/plain")},
            "/openapi.json": {"get": _plain("return this document", {"type": "object"})},
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{}, {"key": []}, {"x-api-key": []}],
    }


def _schemas() -> dict[str, Any]:
    """Return the schemas of all records, with the dependencies between their fields."""
    _, schemas = schema_components(_RECORDS, ref_template=_REF + "{name}")
    for body, no_op_values, messages, extra in (
        ("ChatBody", CHAT_NO_OP_VALUES, {"type": "array", "minItems": 1}, ()),
        ("ResponsesBody", RESPONSES_NO_OP_VALUES, {"type": ["string", "array"], "minItems": 1}, ("instructions",)),
        ("MessagesBody", MESSAGES_NO_OP_VALUES, {"type": "array", "minItems": 1}, ("system",)),
    ):
        for name, values in no_op_values.items():
            schemas[body]["properties"][name] = {"enum": [*values, None], "description": "no other value is supported"}
        schemas[body]["oneOf"] = _messages_or_variables(
            "input" if body == "ResponsesBody" else "messages", messages, extra
        )
    for name, values in MESSAGES_NO_OP_VALUES.items():
        schemas["CountTokensBody"]["properties"][name] = {"enum": [*values, None]}
    schemas["InputMessage"]["required"].remove("type")  # clients leave it out
    schemas["InputMessage"]["oneOf"] = _content_by_role(CONTENT_TYPES)
    schemas["MessageParam"]["oneOf"] = _content_by_role(BLOCK_TYPES)
    schemas["FileReference"]["oneOf"] = [
        {"required": [name], "properties": {name: {"type": "string"}, other: {"type": "null"}}}
        for name, other in (("file_data", "file_id"), ("file_id", "file_data"))
    ]
    schemas["AssistantMessage"]["anyOf"] = [
        {"required": ["content"], "properties": {"content": {"type": ["string", "array"]}}},
        {"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array", "minItems": 1}}},
        {"required": ["refusal"], "properties": {"refusal": {"type": "string"}}},
    ]
    schemas["MessagesToolChoice"]["oneOf"] = [
        {"required": ["name"], "properties": {"type": {"const": "tool"}, "name": {"type": "string"}}},
        {"properties": {"type": {"enum": ["auto", "any", "none"]}, "name": {"type": "null"}}},
    ]
    chat = schemas["ChatBody"]
    chat["if"] = {"required": ["stream_options"], "properties": {"stream_options": {"type": "object"}}}
    chat["then"] = {"required": ["stream"], "properties": {"stream": {"const": True}}}
    schemas["ResponseFormat"]["oneOf"] = [
        {"properties": {"type": {"enum": ["text", "json_object"]}, "json_schema": {"type": "null"}}},
        {
            "required": ["json_schema"],
            "properties": {"type": {"const": "json_schema"}, "json_schema": {"type": "object"}},
        },
    ]
    schemas["Error"] = {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {
                        "enum": ["invalid_request_error", "insufficient_quota", "requests", "tokens", "server_error"]
                    },
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    }
    schemas["AnthropicError"] = {
        "type": "object",
        "required": ["type", "error"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    }
    return schemas


def _content_by_role(types: Mapping[str, Iterable[str]]) -> list[dict[str, Any]]:
    """Return the alternatives of a message: parts of these types for each role."""
    return [
        {
            "properties": {
                "role": {"const": role},
                "content": {"items": {"properties": {"type": {"enum": sorted(allowed)}}}},
            }
        }
        for role, allowed in types.items()
    ]


def _messages_or_variables(name: str, messages: dict[str, Any], others: Iterable[str]) -> list[dict[str, Any]]:
    """Return the alternatives of a body: messages under their name, or a prompt's variables without the others."""
    absent: dict[str, Any] = {other: {"type": "null"} for other in others}
    return [
        {"required": [name], "properties": {name: messages, "prompt_variables": {"type": "null"}}},
        {
            "required": ["prompt_variables"],
            "properties": {name: {"enum": [None, []]}, "prompt_variables": {"type": "object"}, **absent},
        },
    ]


def _completion(summary: str, records: tuple[str, str], event_text: str) -> dict[str, Any]:
    """Build the operation of a completion; `records` are those of reply and body."""
    operation = _operation(summary, *records, tag="models")
    success = operation["responses"]["200"]
    success["headers"] = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _ANSWER_HEADERS.items()
    }
    data = {"type": "string", "description": event_text}
    event = {"type": "object", "required": ["data"], "properties": {"event": {"type": "string"}, "data": data}}
    success["content"]["text/event-stream"] = {"itemSchema": event}  # with `stream: true`
    return operation


def _anthropic(operation: dict[str, Any]) -> dict[str, Any]:
    """Set Anthropic's error object as the body of all errors."""
    for status in _ERRORS:
        schema = operation["responses"][status]["content"]["application/json"]["schema"]
        schema["$ref"] = _REF + "AnthropicError"
    return operation


def _recorded(summary: str, body: str) -> dict[str, Any]:
    operation = _operation(summary, body, body, tag="feedback")
    operation["responses"]["200"]["content"]["application/json"]["schema"] = _object("status", "call_id")
    return operation


def _model() -> dict[str, Any]:
    operation = _operation("return one feature or model", "ModelReply", tag="models")
    operation["parameters"] += [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    return operation


def _ready() -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"enum": ["ready", "warming", "no release", "draining"]},
            "release": {"type": ["string", "null"]},
            "candidate": {"type": ["string", "null"]},
            "warm": {"type": "boolean"},
            "degraded": {"type": "object", "additionalProperties": {"type": "string"}},
            "unavailable_models": {"type": "object", "additionalProperties": {"type": "string"}},
            "open_breakers": {"type": "array", "items": {"type": "string"}},
            "in_flight_count": {"type": "integer"},
        },
    }
    operation = _plain("check whether the server can answer calls", schema)
    operation["responses"]["503"] = {
        "description": "the server still loads what calls need, no release serves, or the server shuts down",
        "content": {"application/json": {"schema": schema}},
    }
    return operation


def _operation(summary: str, reply: str, body: str | None = None, *, tag: str) -> dict[str, Any]:
    operation = _plain(summary, {"$ref": _REF + reply}, tag=tag)
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REF + body}}},
        }
        operation["parameters"] = [
            _header("X-Session-Id", r"^[\x21-\x7e]{1,256}$", "id of the conversation"),
            _header("Idempotency-Key", r"^[\x21-\x7e]{1,255}$", "of a new request; its retries get the same answer"),
        ]
    operation["parameters"] = [
        *operation.get("parameters", []),
        _header("X-Tenant", r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", "tenant; only without keys in the registry"),
    ]
    return operation


def _header(name: str, pattern: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _plain(
    summary: str, schema: dict[str, Any], *, kind: str = "application/json", tag: str = "operation"
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "done", "content": {kind: {"schema": schema}}}}
    for status, text in _ERRORS.items():
        responses[status] = {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": _REF + "Error"}}},
        }
    return {"summary": summary, "tags": [tag], "responses": responses}


def _object(*names: str) -> dict[str, Any]:
    return {"type": "object", "required": list(names), "properties": {name: {"type": "string"} for name in names}}

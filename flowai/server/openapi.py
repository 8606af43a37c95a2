"""The OpenAPI document of the server, made of the records that check bodies and encode answers.

Source: OpenAPI Specification 3.2 (`itemSchema` describes one event of a stream).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai import __version__
from flowai.server.schemas.requests import NO_OP_VALUES, ChatBody, EmbeddingsBody, FeedbackBody
from flowai.server.schemas.responses import ChatReply, ChunkReply, EmbeddingsReply, ModelReply, ModelsReply
from flowai.storage.json_schema import schema_components

if TYPE_CHECKING:
    from collections.abc import Mapping

_RECORDS = (ChatBody, EmbeddingsBody, FeedbackBody, ChatReply, ChunkReply, EmbeddingsReply, ModelReply, ModelsReply)
_REF = "#/components/schemas/"
_ERRORS: Mapping[str, str] = {
    "400": "a parameter, the variables, the content policy, the context's length or the token budget stands against it",
    "401": "no key, or a wrong one",
    "403": "a page of another site asked",
    "404": "no such feature, model or path",
    "405": "this path takes another method",
    "408": "the body took too long",
    "413": "the body is too long",
    "415": "the body is no plain JSON",
    "421": "the `Host` is not this machine",
    "429": "the feature's money of the day is spent; `Retry-After` says when a new day begins",
    "431": "too many or too long headers",
    "500": "the project is set up wrongly, or a bug in flowai",
    "502": "every model that may answer failed",
    "503": "not now: overloaded, shutting down, or the providers ask to be left alone",
    "504": "no model answered in time",
}
_ANSWER_HEADERS: Mapping[str, str] = {
    "X-Flowai-Call-Id": "identity of the call, for feedback and the event log",
    "X-Flowai-Release": "the release that served",
    "X-Flowai-Variant": "which side of a rollout served",
    "X-Flowai-Model": "the registry's name of the model that answers; a stream that begins anew may end with another",
    "X-Flowai-Degraded": "`true` when the last resort answers, else `false`",
    "X-Flowai-Disclaimer": "what the user is to be told then; percent-encoded UTF-8 beyond printable ASCII",
    "X-Flowai-Cache": "`miss`, `exact` or `semantic`",
}


def openapi_document() -> dict[str, Any]:
    """Give the document."""
    return {
        "openapi": "3.2.0",
        "info": {
            "title": "flowai",
            "version": __version__,
            "description": "An OpenAI-compatible gateway: fallback, canary and caching by changing a base URL.",
        },
        "paths": {
            "/v1/chat/completions": {"post": _chat()},
            "/v1/embeddings": {
                "post": _operation("embed texts", "EmbeddingsReply", "EmbeddingsBody", tag="models"),
            },
            "/v1/feedback": {"post": _feedback()},
            "/v1/models": {"get": _operation("list what can be asked", "ModelsReply", tag="models")},
            "/v1/models/{name}": {"get": _model()},
            "/healthz": {"get": _plain("say that the process lives", _object("status"), tag="operation")},
            "/readyz": {"get": _ready()},
            "/metrics": {"get": _plain("give numbers for Prometheus", {"type": "string"}, kind="text/plain")},
            "/openapi.json": {"get": _plain("give this document", {"type": "object"})},
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _schemas() -> dict[str, Any]:
    """Give the schemas of all records, and what their fields have to do with each other."""
    _, schemas = schema_components(_RECORDS, ref_template=_REF + "{name}")
    chat = schemas["ChatBody"]
    for name, values in NO_OP_VALUES.items():
        chat["properties"][name] = {"enum": [*values, None], "description": "nothing else is supported"}
    chat["oneOf"] = [
        {
            "required": ["messages"],
            "properties": {"messages": {"type": "array", "minItems": 1}, "prompt_variables": {"type": "null"}},
        },
        {
            "required": ["prompt_variables"],
            "properties": {"messages": {"enum": [None, []]}, "prompt_variables": {"type": "object"}},
        },
    ]
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
                    "type": {"enum": ["invalid_request_error", "insufficient_quota", "server_error"]},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    }
    return schemas


def _chat() -> dict[str, Any]:
    operation = _operation("ask a feature or a model", "ChatReply", "ChatBody", tag="models")
    good = operation["responses"]["200"]
    good["headers"] = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _ANSWER_HEADERS.items()
    }
    text = "a ChunkReply, or `[DONE]` at the end; a stream that dies ends with an Error instead, without `[DONE]`"
    event = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string", "description": text}}}
    good["content"]["text/event-stream"] = {"itemSchema": event}  # with `stream: true`
    return operation


def _feedback() -> dict[str, Any]:
    operation = _operation("say what became of an answer", "FeedbackBody", "FeedbackBody", tag="feedback")
    operation["responses"]["200"]["content"]["application/json"]["schema"] = _object("status", "call_id")
    return operation


def _model() -> dict[str, Any]:
    operation = _operation("look one of them up", "ModelReply", tag="models")
    operation["parameters"] += [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    return operation


def _ready() -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"enum": ["ready", "no release", "draining"]},
            "release": {"type": ["string", "null"]},
            "candidate": {"type": ["string", "null"]},
            "warm": {"type": "boolean"},
            "degraded": {"type": "object", "additionalProperties": {"type": "string"}},
            "open_breakers": {"type": "array", "items": {"type": "string"}},
            "calls_under_way_count": {"type": "integer"},
        },
    }
    operation = _plain("say whether calls can be answered", schema)
    operation["responses"]["503"] = {
        "description": "no release serves, or the server ends",
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
        operation["parameters"] = [_header("X-Session-Id", r"^[\x21-\x7e]{1,256}$", "the conversation")]
    operation["parameters"] = [
        *operation.get("parameters", []),
        _header("X-Tenant", r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", "whose data it is; only where no keys are set up"),
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

"""Names of the records' fields in OpenTelemetry's attributes."""

from __future__ import annotations

SEMCONV_VERSION = "1.44.0"
"""Version of OpenTelemetry's semantic conventions that `OTEL_NAMES` follows."""

OTEL_NAMES: dict[str, str] = {
    "requested_model": "gen_ai.request.model",
    "served_model": "gen_ai.response.model",
    "provider": "gen_ai.provider.name",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "finish_reason": "gen_ai.response.finish_reasons",
    "error_class": "error.type",
    "session": "gen_ai.conversation.id",
    "call_id": "flowai.call.id",
    "user_hash": "flowai.user.hash",
    "caller_hash": "flowai.caller.hash",
    "tenant": "flowai.tenant",
    "origin": "flowai.origin",
    "feature": "flowai.feature",
    "release": "flowai.release",
    "variant": "flowai.variant",
    "experiment": "flowai.experiment",
    "arm": "flowai.arm",
    "prompt_id": "gen_ai.prompt.name",
    "prompt_hash": "flowai.prompt.hash",
    "attempts": "flowai.attempts",
    "degraded": "flowai.degraded",
    "cache": "flowai.cache.verdict",
    "similarity": "flowai.cache.similarity",
    "cache_key": "flowai.cache.key",
    "would_be_hit": "flowai.cache.would_be_hit",
    "cost_usd": "flowai.cost_usd",
    "ttft_ms": "flowai.ttft_ms",
    "latency_ms": "flowai.latency_ms",
    "json_valid": "flowai.json_valid",
    "error_message": "flowai.error.message",
    "is_sticky": "flowai.is_sticky",
    # of an attempt
    "model": "gen_ai.request.model",
    "status": "flowai.attempt.status",
    "reason": "flowai.attempt.skip_reason",
    "http_status": "http.response.status_code",
    "message": "flowai.error.message",
    "was_tried": "flowai.attempt.was_tried",
    "at_ms": "flowai.attempt.at_ms",
    # of embeddings
    "purpose": "flowai.embedding.purpose",
    "text_count": "flowai.embedding.text_count",
    # of feedback and alerts
    "verdict": "flowai.feedback.verdict",
    "text": "flowai.feedback.text",
    "cause": "flowai.alert.cause",
    # of scores and releases
    "name": "gen_ai.evaluation.name",
    "score": "gen_ai.evaluation.score.value",
    "passed": "flowai.evaluation.passed",
    "judge": "flowai.evaluation.judge",
    "judge_hash": "flowai.evaluation.judge_hash",
    "action": "flowai.release.action",
    "serving": "flowai.release.serving",
    "from_stage": "flowai.release.from_stage",
    "to_stage": "flowai.release.to_stage",
    "actor": "flowai.release.actor",
}
"""OpenTelemetry attribute of each field; flowai's own are under `flowai.`. No two fields of one record share one.

Source: OpenTelemetry semantic conventions, Gen AI client spans and attributes registry. They deprecate `error.message`,
so error messages are under `flowai.`.
"""

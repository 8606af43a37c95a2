"""Prometheus metrics of one server; the registry limits the values of all labels.

Source: Prometheus, Metric and label naming; Text-based format 0.0.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from flowai.gateway.records import DegradedReason

if TYPE_CHECKING:
    from flowai.gateway.records import CompletionResult, GatewayStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_CALL_BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
_HTTP_BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0)
_NONE = "none"


class Metrics:
    """Metrics of one server, not shared with other servers of the process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        by_call = ("feature", "release", "variant", "model")
        self._calls = Counter(
            "flowai_calls",
            "Calls by outcome: ok, degraded, or the class of the error.",
            (*by_call, "cache", "outcome"),
            registry=self._registry,
        )
        self._call_s = Histogram(
            "flowai_call_duration_seconds",
            "Time from the request to the complete answer.",
            ("feature", "cache"),
            buckets=_CALL_BUCKETS_S,
            registry=self._registry,
        )
        self._first_s = Histogram(
            "flowai_first_token_seconds",
            "Time from the request to the first token.",
            ("feature", "model"),
            buckets=_CALL_BUCKETS_S,
            registry=self._registry,
        )
        self._tokens = Counter(
            "flowai_tokens", "Tokens used.", ("feature", "model", "direction"), registry=self._registry
        )
        self._cost = Counter(
            "flowai_cost_usd", "Cost of answers with a known price, US dollars.", by_call, registry=self._registry
        )
        self._feedback = Counter("flowai_feedback", "Feedback by verdict.", ("verdict",), registry=self._registry)
        self._scores = Counter(
            "flowai_scores", "Scores by whether the answer passed.", ("passed",), registry=self._registry
        )
        self._requests = Counter(
            "flowai_http_requests", "HTTP requests.", ("route", "method", "status"), registry=self._registry
        )
        self._request_s = Histogram(
            "flowai_http_request_duration_seconds",
            "Time from a request's head to the end of its answer.",
            ("route",),
            buckets=_HTTP_BUCKETS_S,
            registry=self._registry,
        )
        self._in_flight = Gauge("flowai_calls_in_flight", "Running calls.", registry=self._registry)
        self._degraded = Gauge(
            "flowai_degraded", "1 if a part of the gateway does not work.", ("kind",), registry=self._registry
        )
        self._open = Gauge(
            "flowai_breaker_open",
            "1 if a provider's circuit breaker is open.",
            ("provider",),
            registry=self._registry,
        )
        self._release = Gauge(
            "flowai_release_info", "1 for the release that serves.", ("release", "candidate"), registry=self._registry
        )
        self._held = Gauge("flowai_events_held", "Events that are not written yet.", registry=self._registry)
        self._dropped = Counter("flowai_events_dropped", "Events that were lost.", registry=self._registry)
        self._dropped_count = 0
        ProcessCollector(registry=self._registry)

    def answered(self, answer: CompletionResult) -> None:
        """Count an answer."""
        feature = answer.feature or _NONE
        by_call = (feature, answer.release or _NONE, answer.variant or _NONE, answer.model)
        outcome = "degraded" if answer.degraded else "ok"
        self._calls.labels(*by_call, answer.cache, outcome).inc()
        self._call_s.labels(feature, answer.cache).observe(answer.latency_ms / 1000)
        if answer.ttft_ms is not None:
            self._first_s.labels(feature, answer.model).observe(answer.ttft_ms / 1000)
        if answer.cache != "miss":
            return
        for direction, count in (("input", answer.input_tokens), ("output", answer.output_tokens)):
            if count:
                self._tokens.labels(feature, answer.model, direction).inc(count)
        if answer.cost_usd:
            self._cost.labels(*by_call).inc(answer.cost_usd)

    def failed(self, *, feature: str | None, model: str | None, error: str, duration_s: float) -> None:
        """Count a failed call of a feature, or of a model without a feature.

        Args:
            feature: None for a call of a model.
            model: None for a call of a feature.
            error: class of the error.
            duration_s: time from the request to the failure, >= 0.
        """
        self._calls.labels(feature or _NONE, _NONE, _NONE, model or _NONE, "miss", error).inc()
        self._call_s.labels(feature or _NONE, "miss").observe(duration_s)

    def feedback_received(self, verdict: str) -> None:
        """Count one piece of feedback."""
        self._feedback.labels(verdict).inc()

    def score_received(self, *, passed: bool) -> None:
        """Count one score."""
        self._scores.labels("true" if passed else "false").inc()

    def requested(self, *, route: str, method: str, status: int, duration_s: float) -> None:
        """Count an HTTP request.

        Args:
            route: one of the server's paths, or `other`.
            method: an HTTP method, or `other`.
            status: of the answer; 499 when the caller disconnected.
            duration_s: time from its head to the end of the answer, >= 0.
        """
        self._requests.labels(route, method, str(status)).inc()
        self._request_s.labels(route).observe(duration_s)

    def text(self, gateway_status: GatewayStatus, *, in_flight_count: int) -> bytes:
        """Render all metrics in Prometheus' text format."""
        self._in_flight.set(in_flight_count)
        for kind in get_args(DegradedReason):
            self._degraded.labels(kind).set(kind in gateway_status.degraded)
        self._open.clear()
        for provider in gateway_status.open_breakers:
            self._open.labels(provider).set(1)
        self._release.clear()
        self._release.labels(gateway_status.release or _NONE, gateway_status.candidate or _NONE).set(1)
        self._held.set(gateway_status.held_event_count)
        self._dropped.inc(max(0, gateway_status.dropped_event_count - self._dropped_count))
        self._dropped_count = gateway_status.dropped_event_count
        return generate_latest(self._registry)

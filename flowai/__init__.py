"""flowai carries a prompt or a model change from idea to production and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowai.errors import (
        AllModelsFailedError,
        AuthError,
        BudgetError,
        CallError,
        ContentFilteredError,
        ContextTooLongError,
        FlowaiError,
        InfrastructureError,
        InvalidRequestError,
        MalformedAnswerError,
        MissingKeyError,
        ModelNotFoundError,
        ProjectError,
        PromptError,
        RateLimitedError,
        RegistryError,
        ServerError,
        TimedOutError,
        UnreachableError,
        UsageError,
    )
    from flowai.evals.reports import Report, to_frame
    from flowai.events import (
        AlertEvent,
        CallEvent,
        EmbeddingEvent,
        Event,
        FeedbackEvent,
        ReleaseEvent,
        ScoreEvent,
        read_events,
    )
    from flowai.gateway.gateway import Gateway
    from flowai.gateway.records import (
        CompletionRequest,
        CompletionResult,
        Explanation,
        GatewayStatus,
        StreamEvent,
        StreamRestarted,
        StreamStarted,
        TextChunk,
    )
    from flowai.gateway.runtime import RuntimeOptions
    from flowai.gateway.sync_gateway import SyncGateway
    from flowai.privacy.scrubber import Scrubber, ScrubResult
    from flowai.project import find_project
    from flowai.prompts import PromptLibrary, openai_messages
    from flowai.providers import Embeddings

__version__ = "0.1.0"

__all__ = [
    "AlertEvent",
    "AllModelsFailedError",
    "AuthError",
    "BudgetError",
    "CallError",
    "CallEvent",
    "CompletionRequest",
    "CompletionResult",
    "ContentFilteredError",
    "ContextTooLongError",
    "EmbeddingEvent",
    "Embeddings",
    "Event",
    "Explanation",
    "FeedbackEvent",
    "FlowaiError",
    "Gateway",
    "GatewayStatus",
    "InfrastructureError",
    "InvalidRequestError",
    "MalformedAnswerError",
    "MissingKeyError",
    "ModelNotFoundError",
    "ProjectError",
    "PromptError",
    "PromptLibrary",
    "RateLimitedError",
    "RegistryError",
    "ReleaseEvent",
    "Report",
    "RuntimeOptions",
    "ScoreEvent",
    "ScrubResult",
    "Scrubber",
    "ServerError",
    "StreamEvent",
    "StreamRestarted",
    "StreamStarted",
    "SyncGateway",
    "TextChunk",
    "TimedOutError",
    "UnreachableError",
    "UsageError",
    "__version__",
    "find_project",
    "openai_messages",
    "read_events",
    "to_frame",
]

_MODULE_OF = {
    "AllModelsFailedError": "flowai.errors",
    "AuthError": "flowai.errors",
    "BudgetError": "flowai.errors",
    "CallError": "flowai.errors",
    "ContentFilteredError": "flowai.errors",
    "ContextTooLongError": "flowai.errors",
    "FlowaiError": "flowai.errors",
    "InfrastructureError": "flowai.errors",
    "InvalidRequestError": "flowai.errors",
    "MalformedAnswerError": "flowai.errors",
    "MissingKeyError": "flowai.errors",
    "ModelNotFoundError": "flowai.errors",
    "ProjectError": "flowai.errors",
    "PromptError": "flowai.errors",
    "RateLimitedError": "flowai.errors",
    "RegistryError": "flowai.errors",
    "ServerError": "flowai.errors",
    "TimedOutError": "flowai.errors",
    "UnreachableError": "flowai.errors",
    "UsageError": "flowai.errors",
    "Report": "flowai.evals.reports",
    "to_frame": "flowai.evals.reports",
    "AlertEvent": "flowai.events",
    "CallEvent": "flowai.events",
    "EmbeddingEvent": "flowai.events",
    "Event": "flowai.events",
    "FeedbackEvent": "flowai.events",
    "ReleaseEvent": "flowai.events",
    "ScoreEvent": "flowai.events",
    "read_events": "flowai.events",
    "Gateway": "flowai.gateway.gateway",
    "CompletionRequest": "flowai.gateway.records",
    "CompletionResult": "flowai.gateway.records",
    "Explanation": "flowai.gateway.records",
    "GatewayStatus": "flowai.gateway.records",
    "StreamEvent": "flowai.gateway.records",
    "StreamRestarted": "flowai.gateway.records",
    "StreamStarted": "flowai.gateway.records",
    "TextChunk": "flowai.gateway.records",
    "RuntimeOptions": "flowai.gateway.runtime",
    "SyncGateway": "flowai.gateway.sync_gateway",
    "ScrubResult": "flowai.privacy.scrubber",
    "Scrubber": "flowai.privacy.scrubber",
    "find_project": "flowai.project",
    "PromptLibrary": "flowai.prompts",
    "openai_messages": "flowai.prompts",
    "Embeddings": "flowai.providers",
}


def __getattr__(name: str) -> object:
    """Import what is asked for, and no more: `flowai --version` must not pay for the gateway."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module `flowai` has no attribute `{name}`")
    from importlib import import_module

    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__

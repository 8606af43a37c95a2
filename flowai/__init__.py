"""flowai carries a prompt or a model change from idea to production and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowai.gateway.gateway import Gateway
    from flowai.gateway.records import CompletionResult
    from flowai.gateway.sync_gateway import SyncGateway

__version__ = "0.1.0"

__all__ = ["CompletionResult", "Gateway", "SyncGateway", "__version__"]

_MODULE_OF = {
    "CompletionResult": "flowai.gateway.records",
    "Gateway": "flowai.gateway.gateway",
    "SyncGateway": "flowai.gateway.sync_gateway",
}


def __getattr__(name: str) -> object:
    """Import what is asked for, and no more: `flowai --version` must not pay for the gateway."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module `flowai` has no attribute `{name}`")
    from importlib import import_module

    return getattr(import_module(_MODULE_OF[name]), name)

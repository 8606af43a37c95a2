"""Room: registry.yaml as checked records, what it means, and the one writer of flowai's own keys in it."""

from flowai.registry.load import environment_file, environments, load_registry
from flowai.registry.model import BindingEntry, Feature, ModelEntry, Registry, Release, Rollout
from flowai.registry.resolve import (
    Binding,
    EndpointFields,
    ServingRelease,
    binding,
    endpoint_fields,
    features_of,
    resolve_release,
    secret_values,
)
from flowai.registry.variables import environment_of

__all__ = [
    "Binding",
    "BindingEntry",
    "EndpointFields",
    "Feature",
    "ModelEntry",
    "Registry",
    "Release",
    "Rollout",
    "ServingRelease",
    "binding",
    "endpoint_fields",
    "environment_file",
    "environment_of",
    "environments",
    "features_of",
    "load_registry",
    "resolve_release",
    "secret_values",
]

"""The registry file: checked records, lookups, and the only writer of flowai's own keys."""

from flowai.registry.bindings import Binding, ModelChain, arm_binding, binding, features_of, model_chain, sent_params
from flowai.registry.environment import environment_of
from flowai.registry.loader import environment_file, environments, load_registry
from flowai.registry.model_checks import check_daily_limits, single_provider_warnings
from flowai.registry.records import BindingEntry, Feature, ModelEntry, Registry, Release, Rollout
from flowai.registry.resolve import (
    ServingRelease,
    cache_address,
    endpoint_as_written,
    endpoint_of,
    events_directory,
    events_store,
    resolve_release,
    secret_values,
)
from flowai.registry.retirement import Retirement, check_retirements, retirements
from flowai.registry.server_policy import Serve, ServeKey, ServeQueue, TenantLimits

__all__ = [
    "Binding",
    "BindingEntry",
    "Feature",
    "ModelChain",
    "ModelEntry",
    "Registry",
    "Release",
    "Retirement",
    "Rollout",
    "Serve",
    "ServeKey",
    "ServeQueue",
    "ServingRelease",
    "TenantLimits",
    "arm_binding",
    "binding",
    "cache_address",
    "check_daily_limits",
    "check_retirements",
    "endpoint_as_written",
    "endpoint_of",
    "environment_file",
    "environment_of",
    "environments",
    "events_directory",
    "events_store",
    "features_of",
    "load_registry",
    "model_chain",
    "resolve_release",
    "retirements",
    "secret_values",
    "sent_params",
    "single_provider_warnings",
]

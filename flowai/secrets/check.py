"""Checks the keys that features need: whether they are there, from where, how old they are, and whether they work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import ExitCode, FlowaiError, InfrastructureError
from flowai.registry import endpoint_of
from flowai.registry.environment import merge_sources, variable_sources
from flowai.secrets.key_ages import FILE_NAME, KeyAges
from flowai.secrets.needed_keys import needed_keys
from flowai.secrets.records import CheckedKey, KeyReport, LiveResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

    from flowai.project import Project
    from flowai.providers import Endpoint
    from flowai.registry import Registry
    from flowai.secrets.needed_keys import NeededKey
    from flowai.secrets.records import KeyStatus

DEFAULT_MAX_AGE_DAYS = 90
_FAILED: frozenset[KeyStatus] = frozenset({"missing", "refused", "too_old"})


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyCheckOptions:
    """Options of a check, and the project to check."""

    project: Project
    registry: Registry
    release: str
    """The serving release."""
    environ: Mapping[str, str]
    """Variables of the process alone."""
    today: date
    redact: Callable[[str], str]
    max_age_days: int = DEFAULT_MAX_AGE_DAYS
    is_live: bool = False
    """Whether to ask each provider with each key."""


class _Live(msgspec.Struct, frozen=True):
    result: LiveResult
    reason: str | None = None


def check_keys(options: KeyCheckOptions) -> KeyReport:
    """Check the keys of a project.

    Raises:
        ProjectError: a file of variables is wrong.
    """
    root = options.project.root
    sources = variable_sources(options.project, options.environ)
    keys = needed_keys(options.registry, options.release, sources, root=root)
    values = [key.value for key in keys if key.value]
    warnings: tuple[str, ...] = ()
    first_seen: Mapping[str, date] = {}
    try:
        first_seen = KeyAges(options.project.local / FILE_NAME, today=options.today).first_seen(values)
    except InfrastructureError as error:
        warnings = (f"ages are not known: {error}; hint: {error.hint}",)
    warnings += tuple(source.problem for source in sources if source.problem is not None)
    live = _ask(options, keys, merge_sources(sources)) if options.is_live else {}
    checked = tuple(_checked(key, first_seen, live.get(at), options) for at, key in enumerate(keys))
    return KeyReport(release=options.release, max_age_days=options.max_age_days, keys=checked, warnings=warnings)


def exit_code(report: KeyReport) -> ExitCode:
    """Return 1 for a key that is missing, refused or too old; 4 if providers, or all of them, did not answer."""
    has_failed = any(key.status in _FAILED for key in report.keys)
    results = {key.live for key in report.keys}
    is_dark = "unreachable" in results and not results & {"works", "refused", "unproven"}
    if is_dark or ("unreachable" in results and not has_failed):
        return ExitCode.INFRASTRUCTURE
    return ExitCode.GATE_NOT_MET if has_failed else ExitCode.DONE


def _checked(
    key: NeededKey, first_seen: Mapping[str, date], live: _Live | None, options: KeyCheckOptions
) -> CheckedKey:
    seen = first_seen.get(key.value or "") if key.changed_at is None else key.changed_at.date()
    age_days = None if seen is None else (options.today - seen).days
    status, reason = _status(key, age_days, live, options.max_age_days)
    return CheckedKey(
        name=key.name,
        source=key.source,
        provider=key.provider,
        models=tuple(key.models),
        users=tuple(key.users),
        status=status,
        first_seen=seen,
        age_days=age_days,
        live=None if live is None else live.result,
        reason=None if reason is None else options.redact(reason),
    )


def _status(
    key: NeededKey, age_days: int | None, live: _Live | None, max_age_days: int
) -> tuple[KeyStatus, str | None]:
    if key.value is None:
        if key.is_spare:
            return "absent", "another key of the list is there"
        return ("missing", "it is not set") if key.users else ("absent", "no feature uses it")
    if live is not None and live.result == "refused":
        return "refused", live.reason
    if age_days is not None and age_days > max_age_days:
        return "too_old", f"it is {age_days} days old or more; at most {max_age_days} are allowed"
    if live is not None and live.result in {"unreachable", "unproven"}:
        return ("unreachable" if live.result == "unreachable" else "unproven"), live.reason
    return "ok", None


def _ask(options: KeyCheckOptions, keys: Sequence[NeededKey], environ: Mapping[str, str]) -> dict[int, _Live]:
    """Ask each provider for its list of models with each key, and without: a list for everyone proves no key."""
    from flowai.providers.model_lists.live import ask_providers  # late: only `--live` asks

    endpoints: dict[str, Endpoint] = {}
    found: dict[int, _Live] = {}
    for at, key in enumerate(keys):
        if not key.models or key.value is None:
            continue
        try:
            endpoint = endpoint_of(options.registry, key.models[0], environ, root=options.project.root)
        except FlowaiError as error:
            found[at] = _Live("not_asked", error.what)
            continue
        endpoints[f"{at} with"] = msgspec.structs.replace(endpoint, api_key=key.value, spare_keys=())
        endpoints[f"{at} without"] = msgspec.structs.replace(endpoint, api_key=None, spare_keys=())
    answers = ask_providers(endpoints, options.redact)
    for name in endpoints:
        at_text, _, is_with = name.partition(" ")
        if is_with == "with":
            answer, without = answers[name], answers[f"{at_text} without"]
            if answer.status == "failed":
                result: LiveResult = "refused" if answer.is_key_refused else "unreachable"
                found[int(at_text)] = _Live(result, answer.reason)
            elif answer.status == "not_asked":
                found[int(at_text)] = _Live("not_asked", answer.reason)
            elif without.status in {"listed", "not_listed"}:
                found[int(at_text)] = _Live("unproven", "the provider lists its models without a key too")
            else:
                found[int(at_text)] = _Live("works")
    return found

"""Checks of the models that calls may try: keys, end dates, fallbacks, spare models, daily limits, providers."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from flowai.diagnosis.records import error, ok, skipped, warning
from flowai.errors import FlowaiError, MissingKeyError, RegistryError
from flowai.providers.model_facts import model_facts
from flowai.registry import check_daily_limits, endpoint_as_written, endpoint_of, retirements
from flowai.registry.environment import ENVIRONMENT, fill
from flowai.registry.keys import KEY_FILE, keys_of
from flowai.registry.model_list import ask_live
from flowai.registry.resolve import provider_name
from flowai.rendering.formatting import count
from flowai.secrets.needed_keys import IN_REGISTRY, needed_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.diagnosis.inspection import Inspection
    from flowai.diagnosis.records import Result
    from flowai.providers import Endpoint
    from flowai.secrets.needed_keys import NeededKey


def check_keys(inspection: Inspection) -> Iterator[Result]:
    """Check that each model's key is set; say where it comes from, never what it is."""
    models = (*inspection.first_models, *inspection.spare_models)
    root = inspection.project.root
    keys = needed_keys(inspection.registry, inspection.release, inspection.sources, root=root)
    missing: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    for name in models:
        try:
            keys_of(inspection.registry, name, inspection.environ, root=root)
        except MissingKeyError as problem:
            unset = (key.name for key in keys if name in key.models and key.value is None and not _is_file(key))
            variable = next(unset, None)
            reason = problem.what if variable is None else f"`{variable}` is not set"
            missing[reason, problem.hint].append(name)
    found: list[str] = []
    is_open = False
    for key in keys:
        users = [name for name in models if name in key.models and not any(name in each for each in missing.values())]
        if users and key.source == IN_REGISTRY:
            is_open = True
            yield warning(
                f"the registry holds a key of `{users[0]}`, which everyone who reads the file can use",
                "replace that key, and name a variable instead: `api_key: ${NAME}`, with `NAME=...` in `.env`",
            )
        elif users and key.source is not None:
            found.append(f"{_origin(key)} ({', '.join(users)})")
    for (reason, hint), names in missing.items():
        is_first = any(name in inspection.first_models for name in names)
        kind = error if is_first else warning
        yield kind(f"{reason}; needed by {', '.join(f'`{name}`' for name in names)}", hint)
    if found:
        yield ok("; ".join(found))
    elif not missing and not is_open:
        yield ok("no model needs a key")


def _is_file(key: NeededKey) -> bool:
    return key.name.startswith(KEY_FILE)


def _origin(key: NeededKey) -> str:
    """Return where a key comes from."""
    if _is_file(key):
        return key.name
    return f"`{key.name}` from {'the environment' if key.source == ENVIRONMENT else f'`{key.source}`'}"


def check_end_dates(inspection: Inspection) -> Iterator[Result]:
    """Check that no provider retires a model soon."""
    today = inspection.context.now().date()
    found = retirements(inspection.registry, inspection.releases, today=today, prices=inspection.prices)
    for each in found:
        kind = error if each.severity == "fail" else warning
        yield kind(each.text, "`flowai models` shows what follows it; `flowai upgrade` compares the two")
    if not found:
        yield ok("no model in use ends soon")


def check_fallbacks(inspection: Inspection) -> Iterator[Result]:
    """Check that the models of a fallback chain do not share one provider."""
    shared: dict[str, list[str]] = defaultdict(list)
    alone: list[str] = []
    for feature, chains in inspection.chains.items():
        for chain in chains:
            names = (*chain.models, *((chain.degrade,) if chain.degrade else ()))
            providers = {_provider(inspection, name) for name in names}
            if len(names) == 1:
                alone.append(feature)
            elif len(providers) == 1 and feature not in shared[one := providers.pop()]:
                shared[one].append(feature)
    for provider, features in shared.items():
        if features:
            yield warning(
                f"every model of {', '.join(f'`{name}`' for name in features)} is of one provider, `{provider}`: "
                "its outage stops all of them",
                "add a model of another provider to `fallback`, or set `provider:` of models that fail independently",
            )
    if not any(shared.values()):
        without = sorted(set(alone))
        text = "no chain depends on one provider"
        yield ok(f"{text}; without fallback: {', '.join(without)}" if without else text)


def _provider(inspection: Inspection, model: str) -> str:
    entry = inspection.registry.models[model]
    if entry.provider is not None:
        return entry.provider
    try:
        address = entry.api_base and fill(entry.api_base, inspection.environ, owner=f"model `{model}`")
    except MissingKeyError:
        address = entry.api_base
    return provider_name(entry.model, address)


def check_spare_models(inspection: Inspection) -> Iterator[Result]:
    """Check that the models that only a fallback calls could serve."""
    if not inspection.spare_models:
        yield ok("none")
        return
    without_key, problems = [], []
    for name in inspection.spare_models:
        try:
            endpoint = endpoint_of(inspection.registry, name, inspection.environ, root=inspection.project.root)
            inspection.check_local_model(name)
        except MissingKeyError:
            without_key.append(f"`{name}`")
        except FlowaiError as problem:
            problems.append(warning(f"`{name}` cannot serve when it is needed: {problem.what}", problem.hint))
        else:
            problems += _too_small(inspection, endpoint)
    if without_key:
        text = f"without a key, these cannot serve when they are needed: {', '.join(without_key)}"
        problems.insert(0, warning(text, "set the keys that the row `keys` names"))
    yield from problems or [ok(f"{count(len(inspection.spare_models), 'spare model')} can serve")]


def _too_small(inspection: Inspection, endpoint: Endpoint) -> Iterator[Result]:
    """Yield the features whose longest requests do not fit into the context of a spare model."""
    facts = None if endpoint.api_base is not None else model_facts(endpoint.model, inspection.prices)
    limit = None if facts is None else facts.max_input_tokens
    for feature, chains in inspection.chains.items():
        needed = inspection.registry.feature(feature).budget.prompt_tokens
        is_spare = any(endpoint.name in (*chain.models[1:], chain.degrade) for chain in chains)
        if is_spare and limit is not None and needed is not None and needed > limit:
            yield warning(
                f"`{endpoint.name}` reads {limit:,} tokens, `{feature}` allows requests of {needed:,}: it cannot serve "
                "the longest",
                f"choose a model with a larger context, or lower `budget.prompt_tokens` of `{feature}`",
            )


def check_budgets(inspection: Inspection) -> Iterator[Result]:
    """Check that every daily limit can be kept: the prices of its models are known."""
    registry = inspection.registry
    try:
        check_daily_limits(registry, inspection.prices)
    except RegistryError as problem:
        yield error(str(problem), problem.hint)
        return
    limited = [name for name in inspection.chains if registry.feature(name).budget.usd_per_day is not None]
    yield ok(
        f"{count(len(limited), 'feature')} with a daily limit; all prices are known" if limited else "no daily limit"
    )


def check_providers(inspection: Inspection) -> Iterator[Result]:
    """Ask each provider whether it lists the models."""
    if not inspection.is_live:
        yield skipped("not asked; `flowai doctor --live` asks them")
        return
    registry, root = inspection.registry, inspection.project.root
    names = (*inspection.first_models, *inspection.spare_models)
    answers = ask_live(
        names,
        lambda name: endpoint_of(registry, name, inspection.environ, root=root),
        inspection.redactor.text,
    )
    listed = []
    for name, answer in answers.items():
        first = name in inspection.first_models
        if answer.status == "failed":
            problem = f"`{name}` could not be asked for: {answer.reason}"
            hint = "check address, key and network; calls use the fallbacks meanwhile"
            yield error(problem, hint, cause="infrastructure") if first else warning(problem, hint)
        elif answer.status == "not_listed":
            text = f"its provider does not list `{name}` ({endpoint_as_written(registry, name).model})"
            yield warning(text, "`flowai models --live` shows what follows it")
        elif answer.status == "listed":
            listed.append(name)
    if listed:
        yield ok(f"listed: {', '.join(listed)}")
    elif all(answer.status == "not_asked" for answer in answers.values()):
        yield ok("no model has a provider to ask")

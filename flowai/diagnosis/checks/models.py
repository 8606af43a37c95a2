"""Checks of the models that calls may try: keys, end dates, fallbacks, spare models, daily limits, providers."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from flowai.diagnosis.records import error, ok, skipped, warning
from flowai.errors import FlowaiError, MissingKeyError, RegistryError
from flowai.providers.model_facts import model_facts
from flowai.registry import check_daily_limits, endpoint_as_written, endpoint_of, retirements
from flowai.registry.environment import fill, references
from flowai.registry.keys import KEY_FILE, keys_of, usual_variables
from flowai.registry.model_list import ask_live
from flowai.registry.resolve import provider_name
from flowai.rendering.formatting import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.diagnosis.inspection import Inspection
    from flowai.diagnosis.records import Result
    from flowai.providers import Endpoint


def check_keys(inspection: Inspection) -> Iterator[Result]:
    """Check that each model's key is set; say where it comes from, never what it is."""
    sources: dict[str, list[str]] = defaultdict(list)
    missing: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    is_open = False
    for name in (*inspection.first_models, *inspection.spare_models):
        try:
            keys = keys_of(inspection.registry, name, inspection.environ, root=inspection.project.root)
        except MissingKeyError as problem:
            variable = _unset_variable(inspection, name)
            reason = problem.what if variable is None else f"`{variable}` is not set"
            missing[reason, problem.hint].append(name)
            continue
        if _has_literal_key(inspection, name):
            is_open = True
            yield warning(
                f"the registry holds a key of `{name}`, which everyone who reads the file can use",
                "replace that key, and name a variable instead: `api_key: ${NAME}`, with `NAME=...` in `.env`",
            )
        for source in _sources(inspection, name) if keys else ():
            if name not in sources[source]:
                sources[source].append(name)
    for (reason, hint), names in missing.items():
        is_first = any(name in inspection.first_models for name in names)
        found = error if is_first else warning
        yield found(f"{reason}; needed by {', '.join(f'`{name}`' for name in names)}", hint)
    if sources:
        yield ok("; ".join(f"{source} ({', '.join(models)})" for source, models in sources.items()))
    elif not missing and not is_open:
        yield ok("no model needs a key")


def _has_literal_key(inspection: Inspection, model: str) -> bool:
    texts = inspection.registry.models[model].key_texts
    return any(not references(text) and not text.startswith(KEY_FILE) for text in texts)


def _unset_variable(inspection: Inspection, model: str) -> str | None:
    """Return the first variable that a model's key needs and that is not set; None if the key is in a file."""
    entry = inspection.registry.models[model]
    named = (name for text in entry.key_texts for name in references(text))
    names = tuple(named) if entry.key_texts else usual_variables(entry.model.partition("/")[0])[:1]
    return next((name for name in names if not inspection.environ.get(name)), None)


def _sources(inspection: Inspection, model: str) -> Iterator[str]:
    """Yield where the keys of a model come from."""
    entry = inspection.registry.models[model]
    for text in entry.key_texts:
        if text.startswith(KEY_FILE):
            yield text
    names = [name for text in entry.key_texts for name in references(text)]
    if not entry.key_texts:
        names = [name for name in usual_variables(entry.model.partition("/")[0]) if inspection.environ.get(name)][:1]
    for name in names:
        where = "the environment" if inspection.context.environ.get(name) else "`.env`"
        yield f"`{name}` from {where}"


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

"""Models of a release that their provider retires soon."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Literal

import msgspec

from flowai.errors import Place, RegistryError
from flowai.providers.model_facts import model_facts
from flowai.providers.model_lists.families import guess_replacement
from flowai.registry.bindings import feature_models, features_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.providers import PriceTable
    from flowai.registry.records import Registry


class Retirement(msgspec.Struct, frozen=True, kw_only=True):
    """A model with an end date that is near or past."""

    model: str
    """Name in the registry."""
    litellm_model: str
    end_date: date
    days_left: int
    """Negative after the end date."""
    features: tuple[str, ...]
    """Features that may call the model, as fallback, last resort, juror or arm of an experiment too; sorted."""
    severity: Literal["warn", "fail"]
    """By `policies.retirement`."""
    replacement: str | None = None
    """Newest living model of its family, LiteLLM's name; None if there is none."""

    @property
    def text(self) -> str:
        """Return one line for people."""
        when = f"in {self.days_left} days" if self.days_left > 0 else "today" if not self.days_left else "already"
        return (
            f"model `{self.model}` ({self.litellm_model}) is retired on {self.end_date.isoformat()}, {when}; "
            f"used by {', '.join(self.features)}"
            + (f"; newest of its family: {self.replacement}" if self.replacement else "")
        )


def retirements(
    registry: Registry, releases: Iterable[str], *, today: date, prices: PriceTable
) -> tuple[Retirement, ...]:
    """Return the models of releases whose end date is within `policies.retirement.warn`, the earliest first."""
    users: dict[str, set[str]] = {}
    for release in releases:
        for feature in features_of(registry, release):
            for model in feature_models(registry, release, feature):
                users.setdefault(model, set()).add(feature)
    policy = registry.policies.retirement
    found = []
    for model, features in users.items():
        entry = registry.model(model)
        name = entry.model
        facts = None if entry.api_base is not None else model_facts(name, prices)  # another server may keep it
        days_left = None if facts is None else facts.days_left(today)
        if facts is None or facts.end_date is None or days_left is None or days_left > policy.warn_days:
            continue
        found.append(
            Retirement(
                model=model,
                litellm_model=name,
                end_date=facts.end_date,
                days_left=days_left,
                features=tuple(sorted(features)),
                severity="fail" if days_left <= policy.fail_days else "warn",
                replacement=guess_replacement(name, prices, today=today),
            )
        )
    return tuple(sorted(found, key=lambda each: (each.end_date, each.model)))


def check_retirements(
    registry: Registry, releases: Iterable[str], *, today: date, prices: PriceTable
) -> tuple[str, ...]:
    """Return a warning for each model of the releases that is retired soon.

    Raises:
        RegistryError: a model is retired within `policies.retirement.fail`, or already.
    """
    found = retirements(registry, releases, today=today, prices=prices)
    for each in found:
        if each.severity == "fail":
            place = registry.places.get(each.model)
            raise RegistryError(
                each.text,
                place=place and Place(file=place.file, line=place.line, key=f"models.{each.model}"),
                hint="replace it in a new release; `policies: {retirement: {fail: 0s}}` allows it until its last day",
            )
    return tuple(each.text for each in found)

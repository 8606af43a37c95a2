"""JSON Schema keywords that contain patterns, implemented with time-limited searches.

Source: JSON Schema 2020-12, Core 10.3.2.2 and 10.3.2.3, Validation 6.3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.evals.assertions.records import quoted
from flowai.evals.assertions.safe_regex import TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jsonschema.exceptions import ValidationError

_Validator = Any  # the library's protocol omits `descend`


class Patterns:
    """The patterns of one schema, each with its search function."""

    def __init__(self, searches: Mapping[str, Callable[[str], bool]]) -> None:
        self._searches = searches

    def keywords(self) -> dict[str, Callable[..., Iterator[ValidationError]]]:
        """Return the keyword implementations by name, as the library's `extend` expects them."""
        return {
            "pattern": self._pattern,
            "patternProperties": self._pattern_properties,
            "additionalProperties": self._additional_properties,
        }

    def _matches(self, pattern: str, text: str) -> bool:
        try:
            return self._searches[pattern](text)
        except TimeoutError:
            raise TimeoutError(f"the schema's pattern {quoted(pattern)} timed out after {TIMEOUT_S:g} s") from None

    def _pattern(self, _: _Validator, pattern: str, value: object, __: object) -> Iterator[ValidationError]:
        from jsonschema.exceptions import ValidationError

        if isinstance(value, str) and not self._matches(pattern, value):
            yield ValidationError(f"is {quoted(value)}, which does not match {quoted(pattern)}")

    def _pattern_properties(
        self, validator: _Validator, schemas: Mapping[str, object], value: object, _: object
    ) -> Iterator[ValidationError]:
        if not isinstance(value, dict):
            return
        for pattern, schema in schemas.items():
            for name, part in value.items():
                if self._matches(pattern, name):
                    yield from validator.descend(part, schema, path=name, schema_path=pattern)

    def _additional_properties(
        self, validator: _Validator, allowed: object, value: object, schema: Mapping[str, Any]
    ) -> Iterator[ValidationError]:
        from jsonschema.exceptions import ValidationError

        if not isinstance(value, dict):
            return
        extra = [name for name in value if not self._is_named(name, schema)]
        if allowed is False and extra:
            yield ValidationError(f"has unexpected {', '.join(quoted(name) for name in extra[:3])}")
        elif isinstance(allowed, dict):
            for name in extra:
                yield from validator.descend(value[name], allowed, path=name)

    def _is_named(self, name: str, schema: Mapping[str, Any]) -> bool:
        patterns = schema.get("patternProperties", {})
        return name in schema.get("properties", {}) or any(self._matches(pattern, name) for pattern in patterns)

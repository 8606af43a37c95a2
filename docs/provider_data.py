"""Writes `flowai/providers/providers.json`: asks the installed LiteLLM how it sends each feature of a request.

A feature is sent without LiteLLM only if flowai's request equals LiteLLM's, for each of its samples. This takes
minutes: `docs/generate.py` does it only when LiteLLM, the samples or the code that builds requests have changed.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import os
import random
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "tests")]

from litellm_probe import KEY, LOOPBACK, LiteLLMProbe, SentRequest, variables_read  # noqa: E402
from support.wire_samples import HELLO, Sample, random_request, samples  # noqa: E402

from flowai.providers.catalog import (  # noqa: E402
    CUSTOM,
    DATA_FILE,
    THROUGH_LITELLM,
    DirectProvider,
    ModelFamily,
    ProviderData,
    ProviderRecord,
    family_name,
)
from flowai.providers.client import EmbedRequest, Endpoint, Request  # noqa: E402
from flowai.providers.openai.requests import chat_request, embedding_request  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

UNKNOWN_MODEL = "xyz"
SOURCES = (
    "docs/provider_data.py",
    "docs/litellm_probe.py",
    "tests/support/wire_samples.py",
    "flowai/providers/openai/chat_features.py",
    "flowai/providers/openai/requests.py",
)
SAMPLES = samples()
FEATURES = frozenset(SAMPLES)
RANDOM_COUNT = 15
"""Random requests for each family, to find features that do not go together."""
_NOT_ABOUT_REQUESTS: tuple[str, ...] = (
    "SSL_",
    "PYTHON",
    "PYDANTIC",
    "AIOHTTP",
    "LITELLM_USER_AGENT",
    "LITELLM_HTTP2",
    "LITELLM_RUST",
)
_NOT_ABOUT_REQUESTS += ("DISABLE_AIOHTTP", "OPENAI_ADMIN_KEY", "OPENAI_WEBHOOK")
_ACCOUNT_VARIABLES = frozenset({"OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"})
"""LiteLLM sends them to all servers with OpenAI's protocol; flowai only to OpenAI."""
_ODD_NAMES = {
    "a/xyz": "/",
    "xyz:free": ":",
    "x#y": "#",
    "a@b": "@",
    "a b": " ",
    "XYZ-7B.gguf": ".",
    "x_y": "_",
    "x+y": "+",
}


class Target:
    """A provider at an address, and a model of it: compares flowai's requests with LiteLLM's."""

    def __init__(self, probe: LiteLLMProbe, name: str, record: ProviderRecord, model: str, *, custom: bool) -> None:
        self.probe, self.name, self.record, self.model = probe, name, record, model
        self.base = LOOPBACK if custom else None

    def litellm(self, sample: Sample) -> SentRequest | None:
        """Return LiteLLM's request."""
        sample = copy.deepcopy(sample)
        return self.probe.chat(f"{self.name}/{self.model}", sample.messages, base=self.base, **sample.params)

    def flowai(self, sample: Sample, family: ModelFamily) -> SentRequest | None:
        """Return flowai's request for a model of this family."""
        endpoint = Endpoint(name="probe", model=self.model, provider=self.name, api_base=self.base, api_key=KEY)
        request = Request(endpoint=endpoint, messages=tuple(sample.messages), params=sample.params)
        return _decoded(chat_request(request, self._provider(family)))

    def embeds(self) -> bool:
        """Return whether embeddings are equal."""
        endpoint = Endpoint(name="probe", model=self.model, provider=self.name, api_base=self.base, api_key=KEY)
        for texts in (["a"], ["a", "b ü\n"]):
            request = EmbedRequest(endpoint=endpoint, texts=tuple(texts))
            theirs = self.probe.embeddings(f"{self.name}/{self.model}", texts, base=self.base)
            if theirs is None or theirs != _decoded(embedding_request(request, self._provider(ModelFamily()))):
                return False
        return True

    def _provider(self, family: ModelFamily) -> DirectProvider:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}", **self.record.headers}
        prefix = self.record.model_prefix
        return DirectProvider(
            name=self.name,
            base_url=self.base or self.record.base_url,
            headers=tuple(headers.items()),
            model=self.model if self.model.startswith(prefix) else prefix + self.model,
            body=self.record.body,
            usage_option=self.record.usage_option,
            family=family,
            features=FEATURES - family.litellm,
            embeddings=True,
        )

    def is_equal(self, sample: Sample, family: ModelFamily) -> bool:
        """Return whether flowai's request equals LiteLLM's; False if either sends none."""
        ours = self.flowai(sample, family)
        return ours is not None and _with_usage_option(self.litellm(sample), self.record) == ours

    def action(self, feature: str, family: ModelFamily) -> ModelFamily | None:
        """Return the family with this feature, as its first sample shows it; None if LiteLLM must send it."""
        sample = SAMPLES[feature][0]
        theirs = _with_usage_option(self.litellm(sample), self.record)
        if theirs is None:
            return None
        name = feature.split(":")[1] if feature.startswith("extra:") else feature.partition(":")[0]
        candidates = [family, msgspec.structs.replace(family, drop=family.drop | {feature})]
        if feature.startswith("developer:"):
            candidates.append(msgspec.structs.replace(family, roles={"developer": "system"}))
        new = theirs.body.keys() - sample.params.keys() - self._plain_fields()
        if len(new) == 1 and name in sample.params:
            candidates.append(msgspec.structs.replace(family, rename={**family.rename, name: new.pop()}))
        return next((one for one in candidates if theirs == self.flowai(sample, one)), None)

    def _plain_fields(self) -> set[str]:
        return {"model", "messages", "stream", "stream_options", *self.record.body}


def _decoded(request: Any) -> SentRequest | None:
    if request is None:
        return None
    headers = {name.lower(): value for name, value in request.headers}
    return SentRequest(request.url, headers, json.loads(request.body))


def _with_usage_option(request: SentRequest | None, record: ProviderRecord) -> SentRequest | None:
    """Return LiteLLM's request with `stream_options`, which it drops for some providers that flowai sends it to."""
    if request is None or not isinstance(request.body, dict) or not record.usage_option:
        return request
    return request._replace(body={**request.body, "stream_options": {"include_usage": True}})


def family_of(target: Target) -> ModelFamily | None:
    """Try all features on a model; None if even a plain request differs."""
    if not target.is_equal(SAMPLES["user:text"][0], ModelFamily()):
        return None
    family = ModelFamily()
    refused = set()
    for feature in sorted(FEATURES):
        changed = target.action(feature, family)
        if changed is None:
            refused.add(feature)
        else:
            family = changed
    return _with_conflicts(target, msgspec.structs.replace(family, litellm=frozenset(refused)))


def _with_conflicts(target: Target, family: ModelFamily) -> ModelFamily:
    """Return a family with the features that do not go together, found by requests with many at once."""
    while (
        failed := next((one for one in _covering(target, family) if not target.is_equal(one, family)), None)
    ) is not None:
        family = _with_conflict(target, failed, family)
    choices = random.Random(7)  # noqa: S311 - the same requests each time
    for _ in range(RANDOM_COUNT):
        sample = _without_refused(target, random_request(choices, max_count=12), family)
        if target.flowai(sample, family) is not None and not target.is_equal(sample, family):
            family = _with_conflict(target, sample, family)
    return family


def _with_conflict(target: Target, sample: Sample, family: ModelFamily) -> ModelFamily:
    conflict = frozenset(_features(_shrink(target, sample, family))) - {"user:text"}
    if len(conflict) == 1:
        return msgspec.structs.replace(family, litellm=family.litellm | conflict)
    return msgspec.structs.replace(family, conflicts=tuple(sorted({*family.conflicts, conflict}, key=sorted)))


def _without_refused(target: Target, sample: Sample, family: ModelFamily) -> Sample:
    """Return as much of a request as flowai builds."""
    kept: dict[str, Any] = {}
    for name, value in sorted(sample.params.items(), key=lambda pair: pair[0] != "tools"):
        if target.flowai(Sample({**kept, name: value}, [HELLO]), family) is not None:
            kept[name] = value
    messages = sample.messages if target.flowai(Sample({}, sample.messages), family) is not None else [HELLO]
    return Sample(kept, messages)


def _shrink(target: Target, sample: Sample, family: ModelFamily) -> Sample:
    def fails(smaller: Sample) -> bool:
        return target.flowai(smaller, family) is not None and not target.is_equal(smaller, family)

    for name in list(sample.params):
        smaller = Sample({key: value for key, value in sample.params.items() if key != name}, sample.messages)
        sample = smaller if fails(smaller) else sample
    for position in range(len(sample.messages) - 1, -1, -1):
        smaller = Sample(sample.params, sample.messages[:position] + sample.messages[position + 1 :])
        sample = smaller if smaller.messages and fails(smaller) else sample
    return sample


def _features(sample: Sample) -> set[str]:
    from flowai.providers.openai.chat_features import add_message_features, add_nested_features, parameter_feature

    features: set[str] = set()
    for name, value in sample.params.items():
        features.add(parameter_feature(name, value))
        if name in {"tools", "response_format"}:
            add_nested_features(features, name, value)
    add_message_features(features, sample.messages)
    return features


def is_of_family(target: Target, family: ModelFamily) -> bool:
    """Return whether a model belongs to a family, by far fewer requests than `family_of` needs."""
    if not target.is_equal(SAMPLES["user:text"][0], family):
        return False
    for feature in sorted(family.litellm):
        if target.action(feature, msgspec.structs.replace(family, litellm=frozenset())) is not None:
            return False
    return all(target.is_equal(sample, family) for sample in _covering(target, family))


def _covering(target: Target, family: ModelFamily) -> Iterator[Sample]:
    """Yield requests that together have all features of a family."""
    waiting = [sample for feature in sorted(FEATURES - family.litellm) for sample in SAMPLES[feature]]
    while waiting:
        combined, left = Sample({}, [HELLO]), []
        for sample in waiting:
            same = all(combined.params.get(name, value) == value for name, value in sample.params.items())
            messages = combined.messages if sample.messages == [HELLO] else sample.messages
            wider = Sample({**combined.params, **sample.params}, messages)
            is_free = same and (sample.messages == [HELLO] or combined.messages == [HELLO])
            if is_free and target.flowai(wider, family) is not None:
                combined = wider
            else:
                left.append(sample)
        if len(left) == len(waiting):  # none of them is built even alone
            return
        yield combined
        waiting = left


def known_models(litellm: Any, name: str) -> list[str]:
    """Return the models of a provider in LiteLLM's price table."""
    names = {
        key.removeprefix(f"{name}/")
        for key, row in litellm.model_cost.items()
        if row.get("litellm_provider") == name or key.startswith(f"{name}/")
    }
    return sorted(names)


def name_parts(litellm: Any, name: str) -> list[str]:
    """Return the texts that LiteLLM's code looks for in models' names."""
    root = Path(litellm.__file__).parent
    folders = [root / one for one in ("litellm_core_utils", "llms/openai", "llms/base_llm", "llms/openai_like")]
    files = [root / "main.py", root / "utils.py", *(file for one in folders for file in one.rglob("*.py"))]
    files += (root / "llms" / name.replace("-", "_")).rglob("*.py")
    found = {part.lower() for file in files for part in _parts_in(file) if 1 < len(part) <= MAX_PART_LENGTH}
    return sorted(found.union(_MORE_PARTS))


_MORE_PARTS: tuple[str, ...] = (
    "claude-sonnet-5",
    "command-a",
    "deepseek-r1",
    "gemini-3-pro",
    "glm-5",
    "gpt-4.1",
    "gpt-5.9",
    "gpt-7",
    "grok-5",
)
_MORE_PARTS += (
    "kimi-k2",
    "llama-4",
    "magistral",
    "minimax-m2",
    "o1",
    "o3",
    "o4",
    "o5",
    "qwen3",
    "reasoner",
    "sonar",
    "thinking",
)
"""Kinds of names that LiteLLM recognises by patterns."""
MAX_PART_LENGTH = 40
_PARTS: dict[Path, set[str]] = {}


def _parts_in(file: Path) -> set[str]:
    if file not in _PARTS:
        found = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and any(_is_model(one) for one in (node.left, *node.comparators)):
                found |= {text for one in (node.left, *node.comparators) for text in _texts_in(one)}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_model(node.func.value):
                found |= {text for argument in node.args for text in _texts_in(argument)}
            elif isinstance(node, ast.AnnAssign | ast.Assign) and "MARKER" in ast.unparse(node).partition("=")[0]:
                found |= _texts_in(node)
        _PARTS[file] = found
    return _PARTS[file]


def _is_model(node: ast.expr) -> bool:
    """Return whether an expression is a model's name, or made of one."""
    names = (getattr(one, "id", None) or getattr(one, "attr", "") for one in ast.walk(node))
    return any(_MODEL_VARIABLE.search(str(name).lower()) for name in names)


_MODEL_VARIABLE = re.compile(r"^_?(bare_|base_|full_)?model(_?(name|lower|id|normalized|key))?$|normalized|short_name")


def _texts_in(node: ast.AST) -> set[str]:
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables; those of providers' keys and addresses are never set otherwise."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.endswith(("_KEY", "_BASE", "_BASE_URL", "_TOKEN", "_URL", "_ORGANIZATION", "_ORG_ID", "_PROJECT_ID")):
            del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class RecordBuilder:
    """Finds out how a provider is addressed."""

    def __init__(self, probe: LiteLLMProbe, name: str) -> None:
        self.probe, self.name = probe, name
        self.model = f"{name}/{UNKNOWN_MODEL}"

    def build(self) -> ProviderRecord | None:
        """Return the record, without families; None if requests are not sent in OpenAI's protocol."""
        with environment():
            plain = self._plain()
            ends = [end for end in ("", "/v1") if self._appends_path(f"http://127.0.0.1:9/a{end}")]
            if plain is None or not ends or plain.headers.get("authorization") != f"Bearer {KEY}":
                return None
            if not isinstance(plain.body, dict) or plain.body.get("messages") != [HELLO]:
                return None
            own = self._plain(base=None)
            base_url = "" if own is None else own.url.removesuffix("/chat/completions")
            prefix = str(plain.body["model"]).removesuffix(UNKNOWN_MODEL)
        if urlsplit(base_url).hostname == "api.openai.com" and self.name != "openai":
            base_url = ""  # servers at an address of the user's: LiteLLM would send their key to OpenAI
        usual = {"content-type", "authorization"}
        fields = {"model", "messages", "stream", "stream_options"}
        record = ProviderRecord(
            base_url=base_url,
            base_url_end="" if "" in ends else "/v1",
            strips_slash=self._appends_path(f"http://127.0.0.1:9/a{ends[0]}/"),
            headers={_TITLES.get(key, key): value for key, value in plain.headers.items() if key not in usual},
            body={key: value for key, value in plain.body.items() if key not in fields},
            model_prefix=prefix,
            usage_option="stream_options" in plain.body or self._uses_openai_client(),
        )
        return self._with_variables(record)

    def _uses_openai_client(self) -> bool:
        """Return whether LiteLLM sends the provider's requests by OpenAI's client, as flowai then does with usage."""
        return self.name in self.probe.litellm.openai_compatible_providers

    def _plain(self, base: str | None = LOOPBACK, **more: Any) -> SentRequest | None:
        return self.probe.chat(self.model, [dict(HELLO)], base=base, **more)

    def _appends_path(self, base: str) -> bool:
        with environment():
            request = self._plain(base=base)
        return request is not None and request.url == base.rstrip("/") + "/chat/completions"

    def _with_variables(self, record: ProviderRecord) -> ProviderRecord:
        with environment(), variables_read() as names:
            self._plain()
            self._plain(base=None, api_key=None)
        names = [name for name in names if not name.startswith(_NOT_ABOUT_REQUESTS)]
        kinds: dict[str, list[str]] = {}
        for name in names:
            for kind in self._kinds(name):
                kinds.setdefault(kind, []).append(name)
        headers = {
            _TITLES.get(kind.removeprefix("header "), kind.removeprefix("header ")): self._in_order(kind, found)
            for kind, found in kinds.items()
            if kind.startswith("header ")
        }
        steering = kinds.get("steering", [])
        if record.base_url and self.name != "openai":  # an address of another provider
            steering += [name for name in kinds.get("url", []) if name.startswith("OPENAI_")]
        own_urls = [name for name in kinds.get("url", []) if name not in steering]
        return msgspec.structs.replace(
            record,
            base_url_variables=self._in_order("url", own_urls),
            key_variables=self._in_order("key", kinds.get("key", [])),
            header_variables=headers,
            steering_variables=tuple(sorted(set(steering))),
        )

    def _kinds(self, variable: str) -> set[str]:
        """Return the roles of an environment variable: `url`, `key`, `header NAME`, `steering`."""
        if variable in _ACCOUNT_VARIABLES and self.name != "openai":
            return set()
        kinds: set[str] = set()
        for value in ("http://127.0.0.1:8/set/v1", "true", "x-set: yes"):
            for base, key in ((LOOPBACK, KEY), (None, KEY), (None, None)):
                with environment():
                    before = self._plain(base=base, api_key=key)
                with environment(**{variable: value}):
                    after = self._plain(base=base, api_key=key)
                if after != before:
                    kinds |= _effects(after, before, value)
            if kinds:  # the other values are no addresses and no keys
                return kinds
        return kinds

    def _in_order(self, kind: str, variables: list[str]) -> tuple[str, ...]:
        """Return environment variables in the order in which LiteLLM prefers them."""
        left, ordered = list(variables), []
        while left:
            values = {name: f"http://127.0.0.1:{8_000 + place}/v1" for place, name in enumerate(left)}
            with environment(**values):
                request = self._plain(base=None, api_key=None if kind == "key" else KEY)
            seen = "" if request is None else f"{request.url} {request.headers}"
            winner = next((name for name, value in values.items() if value in seen), left[0])
            left.remove(winner)
            ordered.append(winner)
        return tuple(ordered)


_TITLES = {
    "http-referer": "HTTP-Referer",
    "x-title": "X-Title",
    "openai-organization": "OpenAI-Organization",
    "openai-project": "OpenAI-Project",
}


def _effects(after: SentRequest | None, before: SentRequest | None, value: str) -> set[str]:
    """Return the roles of an environment variable that changed a request."""
    if after is None:
        return {"steering"}
    effects = set()
    if after.url.startswith(value):
        effects.add("url")
    for name, text in after.headers.items():
        if value in text if before is None else before.headers.get(name) != text:
            is_key = name == "authorization" and text == f"Bearer {value}"
            effects.add("key" if is_key else f"header {name}" if text == value else "steering")
    if before is not None:
        missing = before.headers.keys() - after.headers.keys()
        is_moved = not after.url.startswith((value, before.url))
        if missing or is_moved or after.body != before.body:
            effects.add("steering")
    return effects


class FamilyTable:
    """Families found so far, by name."""

    def __init__(self, usual: dict[str, ModelFamily]) -> None:
        self.families = dict(usual)
        self._refined: dict[str, list[str]] = {}

    def find(self, target: Target) -> str:
        """Return the family of a model, a new one if it belongs to none of those found so far."""
        for name, family in self.families.items():
            if is_of_family(target, family):
                return name
        found = family_of(target)
        if found is None:
            return THROUGH_LITELLM
        return self._named(target, found)

    def refined(self, target: Target, name: str) -> str:
        """Return a family like the one named, as far as it holds for a model at its provider's own address."""
        for one in [name, *self._refined.get(name, [])]:
            if _is_like(target, self.families[one]):
                return one
        if not target.is_equal(SAMPLES["user:text"][0], self.families[name]):
            return THROUGH_LITELLM
        found = self._named(target, _with_conflicts(target, self.families[name]))
        self._refined.setdefault(name, []).append(found)
        return found

    def _named(self, target: Target, family: ModelFamily) -> str:
        suffix = "" if target.model == UNKNOWN_MODEL else f"/{target.model}"
        name = f"{target.name}{suffix}" + ("@own" if target.base is None else "")
        self.families[name] = family
        return name


def with_models(probe: LiteLLMProbe, table: FamilyTable, name: str, record: ProviderRecord) -> ProviderRecord:
    """Return a provider's record with the families of its models, at another address than its own."""

    def target(model: str) -> Target:
        return Target(probe, name, record, model, custom=True)

    default = table.find(target(UNKNOWN_MODEL))
    record = msgspec.structs.replace(record, family=default)
    by_signature: dict[Any, str] = {}
    models: dict[str, list[str]] = {}
    for model in known_models(probe.litellm, name):
        signature = _signature(probe.litellm, name, model)
        family = by_signature.get(signature)
        if family is None or not _is_like(target(model), table.families.get(family)):
            family = by_signature[signature] = table.find(target(model))
        models.setdefault(family, []).append(model)
    unclear: list[str] = []
    if default != THROUGH_LITELLM:
        unclear = _unclear_parts(target, table.families[default], name_parts(probe.litellm, name))
    record = msgspec.structs.replace(record, unclear=tuple(unclear))
    embeds = all(target(model).embeds() for model in _embedding_models(probe.litellm, name))
    return _with_listed(msgspec.structs.replace(record, embeddings=embeds), models)


def _is_like(target: Target, family: ModelFamily | None) -> bool:
    """Return whether a few requests with many features at once are those of a family."""
    if family is None:
        return not target.is_equal(SAMPLES["user:text"][0], ModelFamily())
    return all(target.is_equal(sample, family) for sample in _widest(target, family)[:MAX_COVERING])


def _widest(target: Target, family: ModelFamily) -> list[Sample]:
    return sorted(_covering(target, family), key=lambda sample: -len(_features(sample)))


def _signature(litellm: Any, name: str, model: str) -> Any:
    """Return what LiteLLM's decisions about a model depend on."""
    from litellm.types.utils import LlmProviders
    from litellm.utils import ProviderConfigManager

    row = litellm.model_cost.get(f"{name}/{model}") or litellm.model_cost.get(model) or {}
    try:
        config = type(ProviderConfigManager.get_provider_chat_config(model=model, provider=LlmProviders(name))).__name__
    except ValueError:
        config = ""
    facts = {key: row[key] for key in row if "reasoning" in key or key in _DECIDING_KEYS}
    supported = litellm.get_supported_openai_params(model, name)
    is_listed = model in litellm.open_ai_chat_completion_models
    return json.dumps([config, facts, supported, is_listed], sort_keys=True, default=str)


_DECIDING_KEYS = frozenset(
    {
        "mode",
        "supports_function_calling",
        "supports_native_streaming",
        "supports_response_schema",
        "supports_system_messages",
        "supports_tool_choice",
    }
)


def _unclear_parts(target: Any, family: ModelFamily, parts: list[str]) -> list[str]:
    """Return the parts of names that change how LiteLLM sends a request of a provider's unknown models."""
    requests = _widest(target(UNKNOWN_MODEL), family)[:MAX_COVERING]

    def is_clear(model: str) -> bool:
        return all(target(model).is_equal(sample, family) for sample in requests)

    unclear = set(_not_clear(lambda some: is_clear("-".join((UNKNOWN_MODEL, *some, UNKNOWN_MODEL))), parts))
    for part in parts:
        if not any(known in part for known in unclear) and not (is_clear(part) and is_clear(f"{part}-{UNKNOWN_MODEL}")):
            unclear.add(part)
    for model, part in _ODD_NAMES.items():
        if not any(known in model.lower() for known in unclear) and not is_clear(model):
            unclear.add(part)
    return sorted(unclear)


def _not_clear(is_clear: Callable[[list[str]], bool], parts: list[str]) -> list[str]:
    """Return the parts with which a name is not clear, by halving."""
    if not parts or is_clear(parts):
        return []
    if len(parts) == 1:
        return parts
    half = len(parts) // 2
    return _not_clear(is_clear, parts[:half]) + _not_clear(is_clear, parts[half:])


MAX_COVERING = 2
"""Requests that are tried for each part of a name, and for models that should be alike."""


def _embedding_models(litellm: Any, name: str) -> list[str]:
    known = known_models(litellm, name)
    rows = {model: litellm.model_cost.get(f"{name}/{model}") or litellm.model_cost.get(model) or {} for model in known}
    return [UNKNOWN_MODEL, *(model for model, row in rows.items() if row.get("mode") == "embedding")]


def build_provider(probe: LiteLLMProbe, table: FamilyTable, name: str) -> dict[str, ProviderRecord]:
    """Return a provider's record, and a second one if its requests differ at another address."""
    record = RecordBuilder(probe, name).build()
    if record is None:
        return {}
    with environment():
        custom = with_models(probe, table, name, record)
        records = {name: custom}
        if record.base_url:
            own = _own_address(probe, table, name, record, custom)
            records = {name: own} if own == custom else {name: own, name + CUSTOM: custom}
    return {key: one for key, one in records.items() if one.family != THROUGH_LITELLM or one.models or one.embeddings}


def _own_address(
    probe: LiteLLMProbe, table: FamilyTable, name: str, record: ProviderRecord, custom: ProviderRecord
) -> ProviderRecord:
    """Return the record for a provider's own address: the families found at another one, as far as they hold here."""
    models: dict[str, list[str]] = {}

    def family_at(model: str, custom_family: str) -> str:
        if custom_family == THROUGH_LITELLM:
            return THROUGH_LITELLM
        return table.refined(Target(probe, name, record, model, custom=False), custom_family)

    for model in known_models(probe.litellm, name):
        models.setdefault(family_at(model, family_name(custom, model)), []).append(model)
    own = msgspec.structs.replace(custom, family=family_at(UNKNOWN_MODEL, custom.family), models={})
    if custom.embeddings and not Target(probe, name, record, UNKNOWN_MODEL, custom=False).embeds():
        own = msgspec.structs.replace(own, embeddings=False)
    return _with_listed(own, models)


def _with_listed(record: ProviderRecord, models: dict[str, list[str]]) -> ProviderRecord:
    """Return a record that lists the models whose family does not follow from their names."""
    listed = {
        family: tuple(model for model in names if family_name(record, model) != family)
        for family, names in models.items()
    }
    return msgspec.structs.replace(record, models={family: names for family, names in sorted(listed.items()) if names})


def provider_names(litellm: Any) -> list[str]:
    """Return the prefixes of LiteLLM's providers that may have OpenAI's protocol."""
    from litellm.llms.openai_like.json_loader import JSONProviderRegistry

    return sorted({*litellm.openai_compatible_providers, *JSONProviderRegistry.list_providers(), *_ALSO} - _NOT_ASKED)


_ALSO: tuple[str, ...] = (
    "cloudflare",
    "codestral",
    "cometapi",
    "compactifai",
    "custom_openai",
    "mistral",
    "openai",
    "openrouter",
    "ovhcloud",
)
_ALSO += ("vercel_ai_gateway",)
_NOT_ASKED = frozenset(
    {"azure_ai", "bedrock_mantle", "chatgpt", "databricks", "github_copilot", "snowflake", "vertex_ai"}
)
"""Providers that sign in, or whose requests depend on more than a key and an address."""


def build(names: Iterable[str] = ()) -> ProviderData:
    """Ask LiteLLM about all providers, or those named."""
    litellm = LiteLLMProbe().litellm
    families: dict[str, ModelFamily] = {}
    providers: dict[str, ProviderRecord] = {}
    asked = sorted(names or provider_names(litellm), key=lambda name: (-len(known_models(litellm, name)), name))
    usual = _usual_families()
    with ProcessPoolExecutor(PROCESS_COUNT, mp_context=get_context("spawn")) as pool:
        for records, found in pool.map(partial(_built, usual), asked):
            renamed = {own: _merged(families, own, family) for own, family in found.items()}
            providers |= {key: _with_families(record, renamed) for key, record in records.items()}
    used = {family for record in providers.values() for family in (record.family, *record.models)}
    return ProviderData(
        litellm=fingerprint(),
        features=FEATURES,
        families={name: family for name, family in sorted(families.items()) if name in used},
        providers=dict(sorted(providers.items())),
        openai_models=frozenset(_models_without_prefix(litellm)),
    )


PROCESS_COUNT = 6


def _usual_families() -> dict[str, ModelFamily]:
    """Return the family of most servers with OpenAI's protocol, which is tried first."""
    with environment():
        family = family_of(Target(LiteLLMProbe(), "lm_studio", ProviderRecord(), UNKNOWN_MODEL, custom=True))
    return {} if family is None else {"usual": family}


def _built(usual: dict[str, ModelFamily], name: str) -> tuple[dict[str, ProviderRecord], dict[str, ModelFamily]]:
    """Return a provider's records and their families; runs in a process of its own."""
    table = FamilyTable(usual)
    records = build_provider(LiteLLMProbe(), table, name)
    sys.stderr.write(f"{name}: {len(records)} records, {len(table.families)} families\n")
    sys.stderr.flush()
    return records, table.families


def _merged(families: dict[str, ModelFamily], name: str, family: ModelFamily) -> str:
    """Return the name of a family, that of an equal one if there is one."""
    for known, other in families.items():
        if other == family:
            return known
    families[name] = family
    return name


def _with_families(record: ProviderRecord, renamed: dict[str, str]) -> ProviderRecord:
    models: dict[str, tuple[str, ...]] = {}
    for family, names in record.models.items():
        new = renamed.get(family, family)
        models[new] = (*models.get(new, ()), *names)
    return msgspec.structs.replace(record, family=renamed.get(record.family, record.family), models=models)


def _models_without_prefix(litellm: Any) -> list[str]:
    found = []
    for model in known_models(litellm, "openai"):
        if "/" in model:
            continue
        try:
            resolved = litellm.get_llm_provider(model)
        except Exception:  # noqa: BLE001, S112 - it needs its prefix
            continue
        if resolved[:2] == (model, "openai"):
            found.append(model)
    return found


def fingerprint() -> str:
    """Return LiteLLM's version and a hash of the sources on which the data depends."""
    from importlib.metadata import version

    code = "".join(ast.dump(ast.parse((ROOT / name).read_text(encoding="utf-8"))) for name in SOURCES)
    return f"{version('litellm')} {hashlib.sha256(code.encode()).hexdigest()[:16]}"


def is_current() -> bool:
    """Return whether the data file was written with the installed LiteLLM and the code at hand."""
    return msgspec.json.decode(DATA_FILE.read_bytes(), type=ProviderData).litellm == fingerprint()


def written(data: ProviderData) -> str:
    """Return the data file's text: one line for each family and provider."""

    def lines(records: dict[str, Any]) -> str:
        rows = (f'"{name}":{_compact(record)}' for name, record in sorted(records.items()))
        return "{\n" + ",\n".join(rows) + "\n}"

    parts = [
        f'"litellm":{json.dumps(data.litellm)}',
        f'"features":{_compact(data.features)}',
        f'"openai_models":{_compact(data.openai_models)}',
        f'"families":{lines(data.families)}',
        f'"providers":{lines(data.providers)}',
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _compact(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def main() -> int:
    """Write the data file, or print the records of the providers named."""
    names = sys.argv[1:]
    text = written(build(names))
    if names:
        sys.stdout.write(text)
    else:
        DATA_FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

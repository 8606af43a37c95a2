"""Every way to get a registry wrong, and what the error must say."""

from __future__ import annotations

from typing import NamedTuple

SIX = """\
schema_version: 1
models:
  m: {model: openai/gpt-4o}
features:
  f: {}
"""


class Wrong(NamedTuple):
    """A registry that is wrong: what about it, its text, and parts of the error's place, message and hint."""

    name: str
    text: str
    place: str
    what: str
    hint: str = ""


def feature(text: str) -> str:
    return SIX.replace("f: {}", text)


def model(keys: str) -> str:
    return SIX.replace("gpt-4o}", f"gpt-4o, {keys}}}")


def binding(keys: str) -> str:
    return f"{SIX}releases: {{v1: {{f: {{{keys}}}}}}}\n"


def served_key(keys: str) -> str:
    return f"serve: {{keys: {{web: {{tenant: acme, sha256: {'a' * 64}, {keys}}}}}}}\n"


WRONG = [
    Wrong(
        "empty file", "", "registry.yaml:1", "found nothing, expected a map", "begin with the line `schema_version: 1`"
    ),
    Wrong("a list", "- a\n", "registry.yaml:1", "found a list"),
    Wrong(
        "breaker range, longer time first",
        SIX + "policies: {breaker: {open: 5m..15s}}\n",
        "registry.yaml:6: policies.breaker.open",
        "found `5m..15s`, expected a range that begins with the shorter time, above 0s, such as `15s..5m`",
    ),
    Wrong(
        "breaker range from zero",
        SIX + "policies: {breaker: {open: 0s..5m}}\n",
        "registry.yaml:6: policies.breaker.open",
        "found `0s..5m`, expected a range that begins with the shorter time, above 0s",
    ),
    Wrong(
        "breaker time without unit",
        SIX + "policies: {breaker: {open: 15..300}}\n",
        "registry.yaml:6: policies.breaker.open",
        "found the text `15..300`, expected a duration such as `5m`, or a range such as `15s..5m`",
    ),
    Wrong("bad syntax", "a: [1\n", "registry.yaml:2", "not valid YAML"),
    Wrong("duplicate", SIX + "features: {}\n", "registry.yaml:6: features", "duplicate key"),
    Wrong("no version", "models: {}\n", "registry.yaml:1", "missing key `schema_version`, expected `1`"),
    Wrong("newer", "schema_version: 2\n", "registry.yaml:1: schema_version", "found version 2", "newer flowai"),
    Wrong(
        "wrong version", "schema_version: '1'\n", "registry.yaml:1: schema_version", "found the text `1`, expected `1`"
    ),
    Wrong(
        "unknown key", SIX + "modles: {}\n", "registry.yaml:6: modles", "unknown key `modles`", "did you mean `models`?"
    ),
    Wrong(
        "unknown inner key",
        feature("f:\n    time_out: {}"),
        "registry.yaml:6: features.f.time_out",
        "unknown key `time_out`",
        "did you mean `timeout`?",
    ),
    Wrong(
        "missing inner key",
        SIX.replace("{model: openai/gpt-4o}", "{tier: bulk}"),
        "registry.yaml:3: models.m",
        "missing key `model`, expected LiteLLM's name",
    ),
    Wrong(
        "model without provider",
        SIX.replace("openai/gpt-4o", "gpt-4o"),
        "registry.yaml:3: models.m.model",
        "found the text `gpt-4o`, expected LiteLLM's name with its provider",
    ),
    Wrong(
        "duration without unit",
        feature("f: {timeout: {total: 30}}"),
        "features.f.timeout.total",
        "found `30`, expected a duration such as `10s`",
    ),
    Wrong(
        "count",
        feature("f: {budget: {prompt_tokens: 0}}"),
        "features.f.budget.prompt_tokens",
        "found `0`, expected a whole number >= 1",
    ),
    Wrong(
        "rate",
        feature("f: {cache: {threshold: 95}}"),
        "features.f.cache.threshold",
        "found `95`, expected a number >= 0 and <= 1",
    ),
    Wrong(
        "choice",
        feature("f: {cache: {kind: fuzzy}}"),
        "features.f.cache.kind",
        "found the text `fuzzy`, expected `exact` or `none` or `semantic`",
    ),
    Wrong(
        "boolean",
        feature("f: {critical: 'yes'}"),
        "features.f.critical",
        "found the text `yes`, expected true or false",
    ),
    Wrong(
        "price",
        model("price: free"),
        "registry.yaml:3: models.m.price",
        "found the text `free`, expected a map or `unknown_is_free`",
    ),
    Wrong(
        "price of a kind",
        model("price: {input: -1, output: 2}"),
        "registry.yaml:3: models.m.price.input",
        "found `-1`, expected a number >= 0 and <= 1000000",
    ),
    Wrong(
        "price without a part",
        model("price: {input: 1}"),
        "registry.yaml:3: models.m.price",
        "missing key `output`, expected a number >= 0",
    ),
    Wrong(
        "price with another key",
        model("price: {input: 1, output: 2, outputs: 2}"),
        "registry.yaml:3: models.m.price.outputs",
        "unknown key `outputs`",
        "did you mean `output`?",
    ),
    Wrong("list", feature("f: {fallback: m}"), "features.f.fallback", "found the text `m`, expected a list"),
    Wrong("map", feature("f: []"), "registry.yaml:5: features.f", "found a list of 0, expected a map"),
    Wrong("nothing", feature("f:"), "registry.yaml:5: features.f", "found nothing, expected a map"),
    Wrong("section", "schema_version: 1\nmodels: 5\n", "registry.yaml:2: models", "found `5`, expected a map of names"),
    Wrong("number as a name", feature("1: {}"), "registry.yaml:5: features.1", "found the int `1` as a name", "quotes"),
    Wrong(
        "no as a name",
        feature("no: {}"),
        "registry.yaml:4: features.False",
        "found the bool `False` as a name",
        "quotes",
    ),
    Wrong("name", feature("'a b': {}"), "registry.yaml:5: features.a b", "found the name `a b`"),
    Wrong("extends as a feature", feature("extends: {}"), "features.extends", "cannot name a feature"),
    Wrong(
        "tier", SIX + "tiers: {gold: [m]}\n", "registry.yaml:6: tiers.gold", "unknown tier `gold`", "there are: `bulk`"
    ),
    Wrong(
        "tier member",
        SIX + "tiers: {bulk: [m, n]}\n",
        "registry.yaml:6: tiers.bulk.1",
        "no model `n`",
        "there are: `m`",
    ),
    Wrong("tier twice", model("tier: bulk") + "tiers: {premium: [m]}\n", "tiers.premium.0", "has `tier: bulk`"),
    Wrong("tier lists twice", SIX + "tiers: {bulk: [m, m]}\n", "tiers.bulk.1", "`m` is listed twice"),
    Wrong(
        "model called like a tier",
        SIX.replace("m: {", "bulk: {"),
        "registry.yaml:3: models.bulk",
        "`bulk` cannot name a model: it is a tier",
    ),
    Wrong(
        "missing tier", binding("prompt: prompts/a_v1, model: bulk"), "releases.v1.f.model", "tier `bulk` has no models"
    ),
    Wrong(
        "empty tier",
        feature("f: {fallback: [m, premium]}") + "tiers: {premium: []}\n",
        "features.f.fallback.1",
        "tier `premium` has no models",
        "tiers: {premium: [...]}",
    ),
    Wrong("degrade tier", feature("f: {degrade: {to: bulk}}"), "features.f.degrade.to", "tier `bulk` has no models"),
    Wrong(
        "arm tier",
        SIX + "experiments: {e: {feature: f, goal: g, arms: {A: {model: premium}, B: {}}}}\n",
        "experiments.e.arms.A.model",
        "tier `premium` has no models",
    ),
    Wrong("embeddings", SIX + "embeddings: n\n", "registry.yaml:6: embeddings", "no model `n`", "there are: `m`"),
    Wrong(
        "on_filtered",
        feature("f: {on_filtered: skip}"),
        "features.f.on_filtered",
        "found the text `skip`, expected `fail` or `next`",
    ),
    Wrong("serve", SIX + "serve: 5\n", "registry.yaml:6: serve", "found `5`, expected a map"),
    Wrong("serve key", SIX + "serve: {kyes: {}}\n", "serve.kyes", "unknown key `kyes`", "did you mean `keys`?"),
    Wrong("serve keys", SIX + "serve: {keys: [a]}\n", "serve.keys", "found a list of 1, expected a map of names"),
    Wrong(
        "serve limit", SIX + "serve: {max_concurrency: 0}\n", "serve.max_concurrency", "expected a whole number >= 1"
    ),
    Wrong(
        "key in place of its hash",
        SIX + "serve: {keys: {web: {tenant: acme, sha256: correct-horse-battery}}}\n",
        "registry.yaml:6: serve.keys.web.sha256",
        "found a value, expected the SHA-256 of a key",
    ),
    Wrong(
        "key without tenant",
        SIX + f"serve: {{keys: {{web: {{sha256: {'a' * 64}}}}}}}\n",
        "serve.keys.web",
        "missing key `tenant`",
    ),
    Wrong(
        "one key twice",
        SIX + f"serve: {{keys: {{a: {{tenant: x, sha256: {'a' * 64}}}, b: {{tenant: y, sha256: {'a' * 64}}}}}}}\n",
        "serve.keys.b.sha256",
        "has the same hash as `a`",
    ),
    Wrong(
        "key with a wrong day",
        SIX + served_key("expires: soon"),
        "registry.yaml:6: serve.keys.web.expires",
        "found the text `soon`, expected a day such as 2027-01-31",
    ),
    Wrong(
        "key with an unknown feature",
        SIX + served_key("features: [f, g]"),
        "registry.yaml:6: serve.keys.web.features.1",
        "no feature `g`",
        "there are: `f`",
    ),
    Wrong(
        "key with an unknown model", SIX + served_key("models: [n]"), "serve.keys.web.models.0", "no model `n`", "`m`"
    ),
    Wrong(
        "limit of a tenant",
        SIX + "serve: {tenants: {acme: {requests_per_minute: 0}}}\n",
        "registry.yaml:6: serve.tenants.acme.requests_per_minute",
        "found `0`, expected a whole number >= 1",
    ),
    Wrong(
        "unknown limit of a tenant",
        SIX + "serve: {tenants: {acme: {request_per_minute: 5}}}\n",
        "serve.tenants.acme.request_per_minute",
        "unknown key `request_per_minute`",
        "did you mean `requests_per_minute`?",
    ),
    Wrong(
        "wait in the queue",
        SIX + "serve: {queue: {max_wait: 5}}\n",
        "registry.yaml:6: serve.queue.max_wait",
        "expected a duration",
    ),
    Wrong("fallback", feature("f: {fallback: [n]}"), "features.f.fallback.0", "no model `n`", "there are: `m`"),
    Wrong("fallback twice", feature("f: {fallback: [m, m]}"), "features.f.fallback.1", "`m` is listed twice"),
    Wrong("degrade", feature("f: {degrade: {to: n}}"), "features.f.degrade.to", "no model `n`"),
    Wrong("local without file", SIX.replace("openai/", "local/"), "models.m", "missing key `file`", "package:PACKAGE"),
    Wrong("file without local", model("file: x"), "models.m.file", "has no `file`", "local/m"),
    Wrong("address", model("api_base: localhost"), "models.m.api_base", "expected a URL"),
    Wrong(
        "release feature",
        SIX + "releases: {v1: {g: {prompt: prompts/a_v1, model: m}}}\n",
        "releases.v1.g",
        "no feature `g`",
    ),
    Wrong("release model", binding("prompt: prompts/a_v1, model: n"), "releases.v1.f.model", "no model `n`"),
    Wrong("release prompt", binding("prompt: a_v1, model: m"), "releases.v1.f.prompt", "expected a prompt id such as"),
    Wrong(
        "prompt outside", binding("prompt: prompts/../a_v1, model: m"), "releases.v1.f.prompt", "expected a prompt id"
    ),
    Wrong("half a binding", binding("model: m"), "registry.yaml:6: releases.v1.f", "missing key `prompt`"),
    Wrong(
        "own param",
        binding("prompt: prompts/a_v1, model: m, params: {stream: true}"),
        "params.stream",
        "not a sampling parameter",
    ),
    Wrong("extends nothing", SIX + "releases: {v1: {extends: v0}}\n", "releases.v1.extends", "no release `v0`"),
    Wrong(
        "extends loop",
        SIX + "releases: {v1: {extends: v2}, v2: {extends: v1}}\n",
        "releases.v1.extends",
        "v1 -> v2 -> v1",
    ),
    Wrong("extends itself", SIX + "releases: {v1: {extends: v1}}\n", "releases.v1.extends", "v1 -> v1"),
    Wrong(
        "extends a number",
        SIX + "releases: {v1: {extends: 1}}\n",
        "releases.v1.extends",
        "found `1`, expected the name",
    ),
    Wrong(
        "experiment feature",
        SIX + "experiments: {e: {feature: g, goal: save_rate, arms: {A: {}, B: {}}}}\n",
        "experiments.e.feature",
        "no feature `g`",
    ),
    Wrong(
        "experiment arm",
        SIX + "experiments: {e: {feature: f, goal: g, arms: {A: {model: n}, B: {}}}}\n",
        "experiments.e.arms.A.model",
        "no model `n`",
    ),
    Wrong(
        "experiment arm key",
        SIX + "experiments: {e: {feature: f, goal: g, arms: {A: {promt: x}, B: {}}}}\n",
        "experiments.e.arms.A.promt",
        "unknown key `promt`",
        "did you mean `prompt`?",
    ),
    Wrong("stages", SIX + "policies: {canary: {stages: [5, 1, 100]}}\n", "policies.canary.stages", "found 5, 1, 100"),
    Wrong(
        "stages end",
        SIX + "policies: {canary: {stages: [dogfood, 50]}}\n",
        "policies.canary.stages",
        "rising percentages up to 100",
    ),
    Wrong(
        "stage",
        SIX + "policies: {canary: {stages: [1.5, 100]}}\n",
        "policies.canary.stages.0",
        "found `1.5`, expected a whole number >= 1 and <= 100 or `dogfood`",
    ),
    Wrong(
        "watched guardrail",
        SIX + "policies: {watch: {guardrails: [json_valid, cost]}}\n",
        "policies.watch.guardrails.1",
        "found `cost`, expected one of `policies.canary.guardrails`: error_rate, json_valid",
    ),
    Wrong(
        "target",
        SIX + "version_targets: [vercel]\n",
        "version_targets.0",
        "found the text `vercel`, expected `dotenv:FILE`",
    ),
    Wrong("current", SIX + "current: v9\n", "registry.yaml:6: current", "no release `v9`"),
    Wrong("history", SIX + "history: [v9]\n", "registry.yaml:6: history.0", "no release `v9`"),
    Wrong("bad", SIX + "bad: [v9]\n", "registry.yaml:6: bad.0", "no release `v9`"),
    Wrong("rollout", SIX + "rollout: {candidate: v9, stage: 5}\n", "rollout.candidate", "no release `v9`"),
    Wrong("tag", "schema_version: !!python/object:os.system {}\n", "registry.yaml:1", "not valid YAML"),
]

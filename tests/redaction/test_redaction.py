"""Redaction: every pattern of secret is removed anywhere, and ordinary text is unchanged."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowai.redaction import SECRET_PATTERNS, Redactor, SecretPattern, names_a_secret, redact
from flowai.redaction.patterns import spell_out

REDACTOR = Redactor()
STANDALONE = [
    shape for shape in SECRET_PATTERNS if shape.name not in {"header", "bearer", "url", "assignment", "slack-webhook"}
]
# an escape (`\\n`, `%3D`) ends in what looks like a letter of the word before
PREFIXED = [shape for shape in STANDALONE if shape.name not in {"stripe", "azure", "azure-client"}]


def ids(shape: SecretPattern) -> str:
    return f"{shape.name}-{shape.hints[0].strip()}"


def secret_part(shape: SecretPattern) -> str:
    return {
        "header": "dXNlcjpwYXNzd29yZA==",
        "bearer": "4fGh7Jk2Lm9Np3Qr6St8Vw5Xy1Zb0Cd",
        "url": "s3cret-pass",
        "assignment": "0123456789abcdef",
        "slack-webhook": "T0/B0",
    }.get(shape.name, spell_out(shape))


@pytest.mark.parametrize("shape", SECRET_PATTERNS, ids=ids)
@pytest.mark.parametrize(
    "context",
    ["{}", "the key {} leaked", '{{"error": "bad key: {}"}}', "({})", "a\n{}\nb", "`{}`", "Ключ {} 密钥", "<{}>"],
)
def test_a_planted_key_is_replaced_by_its_mark(shape: SecretPattern, context: str) -> None:
    found = REDACTOR.text(context.format(spell_out(shape)))
    assert secret_part(shape) not in found
    assert f"[REDACTED:{shape.name}]" in found


@pytest.mark.parametrize("shape", PREFIXED, ids=ids)
@pytest.mark.parametrize("escape", ["\\n", "\\t", "%3D", "%22"])
def test_a_key_after_an_escape_is_found(shape: SecretPattern, escape: str) -> None:
    assert spell_out(shape) not in REDACTOR.text(f"body={escape}{spell_out(shape)}")


def test_there_are_patterns_of_at_least_fifteen_providers() -> None:
    assert len({shape.provider for shape in SECRET_PATTERNS}) >= 30
    providers = {shape.name for shape in SECRET_PATTERNS}
    assert {"openai", "anthropic", "google", "aws-access-key", "azure", "groq", "huggingface", "replicate"} <= providers
    assert {"xai", "perplexity", "together", "fireworks", "deepseek", "openrouter", "nvidia", "cerebras"} <= providers


@pytest.mark.parametrize(
    "text",
    [
        "AZURE_OPENAI_API_KEY=0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "COHERE_API_KEY: aB3dE6gH9jK2mN5pQ8sT1vW4yZ7aB0cD3eF6gH9j",
        "export AWS_SECRET_ACCESS_KEY='wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1'",
        'headers={"x-api-key": "0a1b2c3d4e5f6071"}',
        '{\\"apiKey\\": \\"0a1b2c3d4e5f6071\\"}',
        "password: hunter2hunter2",
        "PAGERDUTY_ROUTING_KEY=0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "https://x.openai.azure.com/?api-key=0a1b2c3d4e5f6071&v=1",
        "authorization: bearer abcdefghijklmnop",
        "Authorization: Token token=y_NbAkKc66ryYTWUXYEu",
        "proxy http://user:pa55word@proxy:3128",
    ],
)
def test_a_secret_without_a_pattern_is_found_by_its_context(text: str) -> None:
    assert "[REDACTED:" in REDACTOR.text(text)


@pytest.mark.parametrize(
    "text",
    [
        "A risk-based, task-focused desk-research approach to the sk-learn-like toolkit.",
        "3fa91c2b-6a1e-4d3a-9c55-0f6b1f0e7a11",
        "d59c694a9a7f3c1b2e4d5f60718293a4b5c6d7e8",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "Bearer authentication requires a token; the authorization: header carries it.",
        "password = hashlib.sha256(salt)",
        "token: required\napi_key: ${OPENAI_API_KEY}\napi_key: os.environ/OPENAI_API_KEY",
        "max_tokens=12345678, prompt_tokens: 4000000000, sort_key=2024010112",
        "http://localhost:8080/path@home and mailto://someone@example.com",
        "prompts/summary_v2 @3fa91c  gpt-4o-mini  evals/summary.yaml  42 cases",
        "Die Schlüssel lagen auf dem Tisch. 鍵はテーブルの上にあった。",
        "eyJust a word, hf_model, fw_version_number_of_the_build, npm_config, gsk_x, AKIAN",
        "-----BEGIN PUBLIC KEY-----",
        "call 555-0134-2222 or +49 30 1234567890123456",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4",
    ],
)
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert REDACTOR.text(text) == text


def test_known_values_are_always_removed() -> None:
    redactor = Redactor(["plain words here", "a/b+c=dd/ee", 'with "quotes"', "shorty", "sk-ant-" + "x1" * 12])
    assert redactor.text("say plain words here now") == "say [REDACTED:known] now"
    assert redactor.text("u=" + quote("a/b+c=dd/ee", safe="")) == "u=[REDACTED:known]"
    assert redactor.text(json.dumps({"a": 'with "quotes"'})) == '{"a": "[REDACTED:known]"}'
    assert redactor.text("shorty") == "shorty"
    assert redactor.text("xsk-ant-" + "x1" * 12) == "x[REDACTED:anthropic]"
    assert redact("the plain words here", known=["plain words here"]) == "the [REDACTED:known]"


def test_a_known_value_that_contains_another_is_removed_completely() -> None:
    assert Redactor(["abcdefgh", "abcdefgh-longer"]).text("abcdefgh-longer") == "[REDACTED:known]"


def test_json_is_redacted_in_values_and_keys_and_by_name() -> None:
    value = {
        "api_key": "anything at all",
        "nested": [{"Password": "letmein-please"}, ("sk-ant-" + "a1" * 10, 3, None, True, 1.5)],
        "sk-ant-" + "b2" * 10: "as a key",
        "token": "short",
        "secret": "${OPENAI_API_KEY}",
        "input_tokens": 12345678,
        "cache_key": "not a secret at all",
    }
    assert REDACTOR.value(value) == {
        "api_key": "[REDACTED:field]",
        "nested": [{"Password": "[REDACTED:field]"}, ["[REDACTED:anthropic]", 3, None, True, 1.5]],
        "[REDACTED:anthropic]": "as a key",
        "token": "short",
        "secret": "${OPENAI_API_KEY}",
        "input_tokens": 12345678,
        "cache_key": "not a secret at all",
    }


def test_deeply_nested_json_is_cut_off() -> None:
    value: Any = "sk-ant-" + "a1" * 10
    for _ in range(5000):
        value = [value]
    assert "[REDACTED:nested too deeply]" in str(REDACTOR.value(value))


@pytest.mark.parametrize("end", ["\n-----END PRIVATE KEY-----", ""])
def test_a_truncated_private_key_is_removed_completely(end: str) -> None:
    text = f"before -----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nMIIEvQ+/=\n{'A1b2' * 16}{end}"
    assert REDACTOR.text(text) == "before [REDACTED:private-key]"


def test_names_of_secrets_are_recognised() -> None:
    for name in ("OPENAI_API_KEY", "db_password", "x-api-key", "apiKey", "GITHUB_TOKEN", "PAGERDUTY_ROUTING_KEY"):
        assert names_a_secret(name)
    for name in ("PATH", "sort_key", "max_tokens", "keyboard", "PASSWORD_HINT_URL"):
        assert not names_a_secret(name)


FRAGMENTS = [spell_out(shape) for shape in SECRET_PATTERNS] + [
    hint for shape in SECRET_PATTERNS for hint in shape.hints
]
GLUE = ["", " ", "-", "_", ".", "=", ":", "\n", "\\n", "%3D", '"', "@", "/", "a", "9", "é", "[REDACTED:openai]"]
pieces = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.sampled_from(GLUE), st.text(max_size=12)), max_size=12)


@example(parts=["dapi" + "0123456789abcdef" * 2, "sk-ant-api03-" + "a1" * 12], known=[])
@given(parts=pieces, known=st.lists(st.text(min_size=8, max_size=20), max_size=2))
def test_redacting_twice_changes_nothing_more(parts: list[str], known: list[str]) -> None:
    redactor = Redactor(known)
    once = redactor.text("".join(parts))
    assert redactor.text(once) == once


@given(before=st.text(max_size=30), after=st.text(max_size=30), index=st.integers(0, len(STANDALONE) - 1))
def test_a_separate_key_is_removed_in_any_context(before: str, after: str, index: int) -> None:
    key = spell_out(STANDALONE[index])
    assert key not in REDACTOR.text(f"{before} {key} {after}")


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=12,
    )
)
def test_json_without_secrets_keeps_its_value(value: Any) -> None:
    assert REDACTOR.value(value) == value


@pytest.mark.parametrize("shape", SECRET_PATTERNS, ids=ids)
def test_hostile_repetition_of_a_hint_ends(shape: SecretPattern) -> None:
    """A pattern that backtracks would run past the suite's time limit on these."""
    for hint in (*shape.hints, *(hint.upper() for hint in shape.hints if shape.folded)):
        for filler in ("", "a", "-", "1", ".", " ", ":", "=", "eyJ"):
            REDACTOR.text((hint + filler) * 3000)
            REDACTOR.text(hint + filler * 20000 + "!")

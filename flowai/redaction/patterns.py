r"""The table of secret patterns: keys of providers, headers, URLs and assignments that contain a secret.

Three rules keep it fast and safe on hostile text:

- Each pattern has `hints`: without one of them a text cannot match, so that patterns never run on ordinary text.
- A pattern begins with a literal and looks back over it (`sk-(?<!\wsk-)`) instead of beginning with `\b`: the regex
  engine then jumps from literal to literal.
- Repetitions are greedy over one character class, or bounded: no pattern can backtrack for more than a few steps.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretPattern:
    """The pattern of one kind of secret."""

    name: str
    """Short name, in the mark that replaces the secret (`[REDACTED:openai]`)."""
    provider: str
    pattern: str
    """Regular expression; the secret is its group `secret`, else the whole match."""
    hints: tuple[str, ...]
    """Literals; every match contains one of them."""
    example: str
    """Invented secret for docs and tests; `…` and `¤` are filled in by `spell_out`."""
    folded: bool = False
    """Whether the hints are lower case and searched in the lower-case text."""
    needs: str = ""
    """Characters; every match contains one of them. Empty if the hints suffice."""


def spell_out(shape: SecretPattern) -> str:
    """Return the pattern's example in full; the table itself has no whole key, so that no secret scanner reports it."""
    return shape.example.replace("…", "4fGh7Jk2Lm9Np3Qr6St8Vw5Xy1Zb0Cd").replace("¤", "0123456789abcdef")


def _start(prefix: str) -> str:
    r"""Return a pattern for a prefix at the start of a word, or after an escape: `\n`, `%3D`."""
    return rf"{prefix}(?:(?<![A-Za-z0-9_]{prefix})|(?<=\\[nrt]{prefix})|(?<=%[0-9A-Fa-f]{{2}}{prefix}))"


def _prefixed(name: str, provider: str, prefix: str, rest: str, *, example: str) -> SecretPattern:
    """Build the pattern of a key that begins with a literal prefix."""
    hint = prefix.replace("\\", "")
    return SecretPattern(
        name=name, provider=provider, pattern=f"{_start(prefix)}{rest}{_TAIL}", hints=(hint,), example=example
    )


_WORD = "[A-Za-z0-9_-]"  # base64url
# the rest of the word belongs to the key: left over, it could begin like another key, which a second pass would find
_TAIL = "[A-Za-z0-9_]*+"
_A_DIGIT = r"(?=[A-Za-z0-9_-]{0,48}\d)"  # words of prose contain no digit; keys of this length do

# Names of fields and variables with secrets; `key` alone is not one (`sort_key`), it needs a word before it.
_KINDS_OF_KEY = (
    "api", "access", "secret", "private", "account", "routing", "subscription", "integration", "service", "master",
)  # fmt: skip
_SECRETS = (
    "secret", "token", "password", "passwd", "passphrase", "pwd", "credential", "credentials", "authorization",
)  # fmt: skip
NAME_OF_SECRET = rf"(?i:(?:{'|'.join(_KINDS_OF_KEY)})[_-]?key|{'|'.join(_SECRETS)})"
"""End of names that contain a secret: fields of JSON and environment variables."""


def _assignment() -> str:
    """Return the pattern of `api_key=...`, `"token": "..."`, `PASSWORD: ...`.

    `token|TOKEN|Token` instead of `(?i:token)`, because the engine can only jump to literals: 15 times faster on
    ordinary text.
    """
    names = "|".join(f"{word}|{word.upper()}|{word.capitalize()}" for word in _SECRETS)
    kinds = "|".join(f"(?<={kind}key)|(?<={kind}[_-]key)" for kind in _KINDS_OF_KEY)
    # at least one digit, because prose and code often name secrets: `token: required`, `password = ask(1)`
    return (
        rf"(?:{names}|(?:key|KEY|Key)(?i:{kinds}))"
        r"(?:\\?['\"])?\s{0,4}(?:[:=]|=>)\s{0,4}(?:\\?['\"])?"
        r"(?=[A-Za-z0-9_.~+/!@#%^&*=-]{0,64}\d)(?P<secret>[A-Za-z0-9_.~+/!@#%^&*=-]{8,}+)(?!\()"
    )


# The order counts: a pattern with the same prefix and more comes before the shorter one.
SECRET_PATTERNS: tuple[SecretPattern, ...] = (
    SecretPattern(
        name="private-key",
        provider="PEM",
        # to the end marker, or to the end of a truncated text; the inside may contain headers such as `Proc-Type`
        pattern=r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*+"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?",
        hints=("PRIVATE KEY",),
        example="-----BEGIN RSA PRIVATE KEY-----\nMIIE…\n…\n-----END RSA PRIVATE KEY-----",
    ),
    # model providers
    _prefixed("anthropic", "Anthropic", "sk-ant-", f"{_WORD}{{16,}}", example="sk-ant-api03-…"),
    _prefixed("openrouter", "OpenRouter", "sk-or-", f"{_WORD}{{16,}}", example="sk-or-v1-¤¤¤¤"),
    _prefixed("deepseek", "DeepSeek", "sk-", r"[0-9a-f]{32}(?![A-Za-z0-9_-])", example="sk-¤¤"),
    _prefixed("openai", "OpenAI", "sk-", rf"{_A_DIGIT}{_WORD}{{20,}}", example="sk-proj-…"),
    _prefixed("google", "Google (Gemini, Vertex, Maps)", "AIza", f"{_WORD}{{30,}}", example="AIzaSy…x"),
    _prefixed("google-oauth", "Google OAuth access token", r"ya29\.", "[A-Za-z0-9._-]{20,}", example="ya29.a0…"),
    _prefixed("google-client", "Google OAuth client secret", "GOCSPX-", f"{_WORD}{{20,}}", example="GOCSPX-…"),
    _prefixed("groq", "Groq", "gsk_", "[A-Za-z0-9]{20,}", example="gsk_……"),
    _prefixed("huggingface", "Hugging Face", "hf_", "[A-Za-z0-9]{30,}", example="hf_…xyz"),
    _prefixed("replicate", "Replicate", "r8_", "[A-Za-z0-9]{30,}", example="r8_…xyzab"),
    _prefixed("xai", "xAI", "xai-", "[A-Za-z0-9]{30,}", example="xai-……"),
    _prefixed("perplexity", "Perplexity", "pplx-", "[A-Za-z0-9]{30,}", example="pplx-…xyz"),
    _prefixed("together", "Together AI", "tgp_v1_", f"{_WORD}{{20,}}", example="tgp_v1_…"),
    _prefixed("fireworks", "Fireworks AI", "fw_", rf"{_A_DIGIT}[A-Za-z0-9]{{20,}}", example="fw_…"),
    _prefixed("cerebras", "Cerebras", "csk-", "[A-Za-z0-9]{30,}", example="csk-…xyz"),
    _prefixed("nvidia", "NVIDIA NIM", "nvapi-", f"{_WORD}{{30,}}", example="nvapi-…"),
    _prefixed("voyage", "Voyage AI", "pa-", rf"{_A_DIGIT}{_WORD}{{40,}}", example="pa-…-abcdefgh"),
    _prefixed("jina", "Jina AI", "jina_", f"{_WORD}{{30,}}", example="jina_¤¤…"),
    _prefixed("pinecone", "Pinecone", "pcsk_", "[A-Za-z0-9_]{30,}", example="pcsk_…"),
    _prefixed("tavily", "Tavily", "tvly-", f"{_WORD}{{20,}}", example="tvly-…"),
    _prefixed("langsmith", "LangSmith", "lsv2_", "[A-Za-z0-9_]{30,}", example="lsv2_pt_¤¤_0123456789"),
    _prefixed("databricks", "Databricks", "dapi", "[0-9a-f]{32}[0-9a-f-]*", example="dapi¤¤"),
    # clouds
    SecretPattern(
        name="aws-access-key",
        provider="AWS access key id",
        pattern=_start("A") + "(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16,}" + _TAIL,
        hints=("AKIA", "ASIA", "ABIA", "ACCA"),
        example="AKIA0123456789ABCDEF",
    ),
    _prefixed("aws-bedrock", "AWS Bedrock API key", "ABSK", "[A-Za-z0-9+/]{60,}=*", example="ABSK……"),
    SecretPattern(
        name="azure",
        provider="Azure AI services",
        pattern="[A-Za-z0-9]{40,60}JQQJ9[A-Za-z0-9]{20,}" + _TAIL,
        hints=("JQQJ9",),
        example="…abcdefghijklmnopqrstJQQJ99ALACYeBjFXJ3w3AAABACOGabcd",
    ),
    SecretPattern(
        name="azure-client",
        provider="Azure (Entra) client secret",
        pattern=r"[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,}",
        hints=("Q~",),
        example="abc8Q~…xyz",
    ),
    # code hosts, chat, payment, mail, paging
    SecretPattern(
        name="github",
        provider="GitHub",
        pattern=_start("gh") + r"[oprsu]_[A-Za-z0-9]{30,}" + _TAIL,
        hints=("ghp_", "gho_", "ghs_", "ghu_", "ghr_"),
        example="ghp_…abcd",
    ),
    _prefixed("github", "GitHub (fine-grained)", "github_pat_", "[A-Za-z0-9_]{22,}", example="github_pat_…"),
    SecretPattern(
        name="gitlab",
        provider="GitLab",
        pattern=_start("gl") + r"(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-[A-Za-z0-9_.-]{20,}",
        hints=("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "gloas-", "glsoat-"),
        example="glpat-…",
    ),
    SecretPattern(
        name="slack",
        provider="Slack",
        pattern=_start("x") + r"(?:ox[a-z]|app)-[0-9A-Za-z.-]{10,}" + _TAIL,
        hints=("xox", "xapp-"),
        example="xoxb-123456789012-…",
    ),
    SecretPattern(
        name="slack-webhook",
        provider="Slack incoming webhook",
        pattern=r"hooks\.slack\.com/(?P<secret>(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,})",
        hints=("hooks.slack.com/",),
        example="https://hooks.slack.com/services/T0/B0/…",
    ),
    SecretPattern(
        name="stripe",
        provider="Stripe",
        pattern=r"(?<![A-Za-z0-9])(?:[spr]k_(?:live|test)|whsec)_[0-9A-Za-z]{16,}" + _TAIL,
        hints=("k_live_", "k_test_", "whsec_"),
        example="sk_live_…",
    ),
    _prefixed("sendgrid", "SendGrid", r"SG\.", r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}", example="SG.….…"),
    SecretPattern(
        name="pagerduty",
        provider="PagerDuty REST API",
        pattern=_start(r"u\+") + _A_DIGIT + _WORD + "{18,}",
        hints=("u+",),
        example="u+Ab0-Cd1_Ef2Gh3Ij4K",
    ),
    _prefixed("npm", "npm", "npm_", "[A-Za-z0-9]{30,}", example="npm_…abcd"),
    _prefixed("pypi", "PyPI", "pypi-", f"{_WORD}{{40,}}", example="pypi-AgEIcHlwaS5vcmc…"),
    _prefixed("digitalocean", "DigitalOcean", "dop_v1_", "[0-9a-f]{40,}", example="dop_v1_¤¤¤¤"),
    SecretPattern(
        name="jwt",
        provider="JSON Web Token",
        pattern=_start("eyJ") + r"[A-Za-z0-9_-]{10,}+\.eyJ[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]*",
        hints=("eyJ",),
        example="eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.…",
    ),
    # carriers of any secret
    SecretPattern(
        name="header",
        provider="HTTP Authorization header",
        pattern=r"(?i:authorization)['\"]?\s{0,4}[:=]\s{0,4}['\"]?(?i:bearer|basic|token|digest|apikey|key)\s{1,4}"
        r"(?:(?i:token)=)?(?P<secret>[^\s'\",;<>{}$\[\]\\]{6,})",
        hints=("authorization",),
        example="Authorization: Basic dXNlcjpwYXNzd29yZA==",
        folded=True,
        needs=":=",
    ),
    SecretPattern(
        name="bearer",
        provider="Bearer token",
        pattern=r"[Bb](?:earer|EARER)(?<![A-Za-z0-9]bearer)(?<![A-Za-z0-9]Bearer)\s{1,4}"
        r"(?=[A-Za-z0-9._~+/=-]{0,60}\d)(?P<secret>[A-Za-z0-9._~+/=-]{12,})",
        hints=("bearer",),
        example="Bearer …",
        folded=True,
        needs="0123456789",
    ),
    SecretPattern(
        name="url",
        provider="URL with a password",
        pattern=r"://[^\s:/@?#\[\]]{0,128}:(?P<secret>[^\s/@\[\]]{1,256}+)@",
        hints=("://",),
        example="redis://worker:s3cret-pass@cache.internal:6379/0",
    ),
    SecretPattern(
        name="assignment",
        provider="any name that says it holds a secret",
        pattern=_assignment(),
        hints=("key", "secret", "token", "passw", "passphrase", "pwd", "credential"),
        example="AZURE_API_KEY=¤¤",
        folded=True,
        needs=":=",
    ),
)

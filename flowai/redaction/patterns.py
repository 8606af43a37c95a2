"""The table of secret patterns: keys of providers, headers, URLs and assignments that contain a secret."""

from __future__ import annotations

from flowai.redaction.key_shapes import KEY_SHAPES, VENDOR_SHAPE
from flowai.redaction.shape import TAIL, WORD, SecretPattern, prefixed, word_start


def spell_out(shape: SecretPattern) -> str:
    """Return the pattern's example in full; the table itself has no whole key, so that no secret scanner reports it."""
    return shape.example.replace("…", "4fGh7Jk2Lm9Np3Qr6St8Vw5Xy1Zb0Cd").replace("¤", "0123456789abcdef")


_A_DIGIT = r"(?=[A-Za-z0-9_-]{0,48}\d)"  # words of prose contain no digit; keys of this length do

# Names of fields and variables with secrets; `key` alone is not one (`sort_key`), it needs a word before it.
_KINDS_OF_KEY = (
    "api", "access", "secret", "private", "account", "routing", "subscription", "integration", "service", "master",
    "app", "application", "auth", "client", "license", "encryption", "signing", "storage", "deploy", "admin",
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
    prefixed("anthropic", "Anthropic", "sk-ant-", f"{WORD}{{16,}}", example="sk-ant-api03-…"),
    prefixed("openrouter", "OpenRouter", "sk-or-", f"{WORD}{{16,}}", example="sk-or-v1-¤¤¤¤"),
    prefixed("deepseek", "DeepSeek", "sk-", r"[0-9a-f]{32}(?![A-Za-z0-9_-])", example="sk-¤¤"),
    prefixed("openai", "OpenAI", "sk-", rf"{_A_DIGIT}{WORD}{{20,}}", example="sk-proj-…"),
    prefixed("google", "Google (Gemini, Vertex, Maps)", "AIza", f"{WORD}{{30,}}", example="AIzaSy…x"),
    prefixed("google-oauth", "Google OAuth access token", r"ya29\.", "[A-Za-z0-9._-]{20,}", example="ya29.a0…"),
    prefixed("google-client", "Google OAuth client secret", "GOCSPX-", f"{WORD}{{20,}}", example="GOCSPX-…"),
    prefixed("groq", "Groq", "gsk_", "[A-Za-z0-9]{20,}", example="gsk_……"),
    prefixed("huggingface", "Hugging Face", "hf_", "[A-Za-z0-9]{30,}", example="hf_…xyz"),
    prefixed("replicate", "Replicate", "r8_", "[A-Za-z0-9]{30,}", example="r8_…xyzab"),
    prefixed("xai", "xAI", "xai-", "[A-Za-z0-9]{30,}", example="xai-……"),
    prefixed("perplexity", "Perplexity", "pplx-", "[A-Za-z0-9]{30,}", example="pplx-…xyz"),
    prefixed("together", "Together AI", "tgp_v1_", f"{WORD}{{20,}}", example="tgp_v1_…"),
    prefixed("fireworks", "Fireworks AI", "fw_", rf"{_A_DIGIT}[A-Za-z0-9]{{20,}}", example="fw_…"),
    prefixed("cerebras", "Cerebras", "csk-", "[A-Za-z0-9]{30,}", example="csk-…xyz"),
    prefixed("nvidia", "NVIDIA NIM", "nvapi-", f"{WORD}{{30,}}", example="nvapi-…"),
    prefixed("voyage", "Voyage AI", "pa-", rf"{_A_DIGIT}{WORD}{{40,}}", example="pa-…-abcdefgh"),
    prefixed("jina", "Jina AI", "jina_", f"{WORD}{{30,}}", example="jina_¤¤…"),
    prefixed("pinecone", "Pinecone", "pcsk_", "[A-Za-z0-9_]{30,}", example="pcsk_…"),
    prefixed("tavily", "Tavily", "tvly-", f"{WORD}{{20,}}", example="tvly-…"),
    prefixed("langsmith", "LangSmith", "lsv2_", "[A-Za-z0-9_]{30,}", example="lsv2_pt_¤¤_0123456789"),
    prefixed("databricks", "Databricks", "dapi", "[0-9a-f]{32}[0-9a-f-]*", example="dapi¤¤"),
    # clouds
    SecretPattern(
        name="aws-access-key",
        provider="AWS access key id",
        pattern=word_start("A") + "(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16,}" + TAIL,
        hints=("AKIA", "ASIA", "ABIA", "ACCA"),
        example="AKIA0123456789ABCDEF",
    ),
    prefixed("aws-bedrock", "AWS Bedrock API key", "ABSK", "[A-Za-z0-9+/]{60,}=*", example="ABSK……"),
    SecretPattern(
        name="azure",
        provider="Azure AI services",
        pattern="[A-Za-z0-9]{40,60}JQQJ9[A-Za-z0-9]{20,}" + TAIL,
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
        pattern=word_start("gh") + r"[oprsu]_[A-Za-z0-9]{30,}" + TAIL,
        hints=("ghp_", "gho_", "ghs_", "ghu_", "ghr_"),
        example="ghp_…abcd",
    ),
    prefixed("github", "GitHub (fine-grained)", "github_pat_", "[A-Za-z0-9_]{22,}", example="github_pat_…"),
    SecretPattern(
        name="gitlab",
        provider="GitLab",
        pattern=word_start("gl") + r"(?:pat|dt|rt|cbt|ptt|ft|ffct|imt|agent|oas|soat|rtr|wt)-[A-Za-z0-9_.-]{20,}",
        hints=(
            "glpat-",
            "gldt-",
            "glrt-",
            "glcbt-",
            "glptt-",
            "glft-",
            "glimt-",
            "glagent-",
            "gloas-",
            "glsoat-",
            "glffct-",
            "glrtr-",
            "glwt-",
        ),
        example="glpat-…",
    ),
    SecretPattern(
        name="slack",
        provider="Slack",
        pattern=word_start("x") + r"(?:ox[a-z]|app)-[0-9A-Za-z.-]{10,}" + TAIL,
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
        pattern=r"(?<![A-Za-z0-9])(?:[spr]k_(?:live|test)|whsec)_[0-9A-Za-z]{16,}" + TAIL,
        hints=("k_live_", "k_test_", "whsec_"),
        example="sk_live_…",
    ),
    prefixed("sendgrid", "SendGrid", r"SG\.", r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}", example="SG.….…"),
    SecretPattern(
        name="pagerduty",
        provider="PagerDuty REST API",
        pattern=word_start(r"u\+") + _A_DIGIT + WORD + "{18,}",
        hints=("u+",),
        example="u+Ab0-Cd1_Ef2Gh3Ij4K",
    ),
    prefixed("npm", "npm", "npm_", "[A-Za-z0-9]{30,}", example="npm_…abcd", min_entropy=2.6, checksum="crc32-base62"),
    prefixed("pypi", "PyPI", "pypi-", f"{WORD}{{40,}}", example="pypi-AgEIcHlwaS5vcmc…"),
    prefixed("digitalocean", "DigitalOcean", "dop_v1_", "[0-9a-f]{40,}", example="dop_v1_¤¤¤¤"),
    SecretPattern(
        name="jwt",
        provider="JSON Web Token",
        pattern=word_start("eyJ") + r"[A-Za-z0-9_-]{10,}+\.eyJ[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]*",
        hints=("eyJ",),
        example="eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.…",
    ),
    *KEY_SHAPES,
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
    VENDOR_SHAPE,
)

"""Reads variables from AWS Secrets Manager: cached, refreshed in the background, kept while it is away."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowai.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

AWS_SECRETS_VARIABLE = "FLOWAI_AWS_SECRETS"
"""Names or ARNs of secrets, separated by commas; each is a JSON object of variables, and the first one wins."""
REFRESH_S = 60.0
"""Age of a secret after which it is read again in the background."""
RETRY_S = 5.0
"""Time between two readings of a secret that could not be read."""
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 5.0
MAX_ATTEMPTS = 3
PASSED_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ADDRESSES = ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL")


@dataclass(frozen=True, kw_only=True, slots=True)
class AwsSecret:
    """A secret as it was last read."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Empty if it was never read."""
    version: str = ""
    changed_at: datetime | None = None
    """Time at which its current version was made."""
    problem: str | None = None
    """Why it could not be read the last time; the variables are then the last known ones."""


class AwsSecretsCache:
    """Secrets of one account and region, for all readers of a process.

    Args:
        settings: variables with credentials, region and address, where they are not those of the process.
        clock_s: monotonic clock, seconds.
    """

    def __init__(self, settings: Mapping[str, str], *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = dict(settings)
        self._clock_s = clock_s
        self._client: Any = None
        self._lock = threading.Lock()
        self._secrets: dict[str, AwsSecret] = {}
        self._due_at_s: dict[str, float] = {}
        self._refreshing: set[str] = set()

    def get(self, name: str) -> AwsSecret:
        """Return a secret: read now for the first time, later the cached one, which is refreshed when it is due."""
        with self._lock:
            known = self._secrets.get(name)
            is_due = self._clock_s() >= self._due_at_s.get(name, 0.0) and name not in self._refreshing
            if known is not None and is_due:
                self._refreshing.add(name)
        if known is None:
            return self.refresh(name)
        if is_due:
            threading.Thread(target=self.refresh, args=(name,), name="flowai-aws-secrets", daemon=True).start()
        return known

    def refresh(self, name: str) -> AwsSecret:
        """Read a secret now, and return it; the last known one, with the problem, if that fails."""
        try:
            read = self._read(name)
        except ProjectError:  # boto3 is not installed
            raise
        except Exception as error:  # noqa: BLE001 - boto3 has no common class; nothing of it may stop a call
            known = self._secrets.get(name) or AwsSecret(name=name)
            problem = f"AWS Secrets Manager: `{name}` cannot be read: {_reason(error)}"
            read = AwsSecret(
                name=name,
                variables=known.variables,
                version=known.version,
                changed_at=known.changed_at,
                problem=problem,
            )
        self._store(name, read, REFRESH_S if read.problem is None else RETRY_S)
        return read

    def _store(self, name: str, secret: AwsSecret, wait_s: float) -> None:
        with self._lock:
            self._secrets[name] = secret
            self._due_at_s[name] = self._clock_s() + wait_s
            self._refreshing.discard(name)

    def _read(self, name: str) -> AwsSecret:
        if self._client is None:
            self._client = _client(self._settings)
        answer = self._client.get_secret_value(SecretId=name)
        try:
            value = json.loads(answer.get("SecretString") or "")
        except ValueError:
            value = None
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise ValueError("expected a JSON object of variables")
        return AwsSecret(
            name=name, variables=value, version=answer.get("VersionId", ""), changed_at=answer.get("CreatedDate")
        )


_caches: dict[tuple[tuple[str, str], ...], AwsSecretsCache] = {}
_caches_lock = threading.Lock()


def aws_secret_names(text: str | None) -> tuple[str, ...]:
    """Return the names in a value of FLOWAI_AWS_SECRETS."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def aws_secrets_cache(environ: Mapping[str, str]) -> AwsSecretsCache:
    """Return the process's cache for credentials, region and address in these variables."""
    names = (*PASSED_VARIABLES, *_REGIONS, *_ADDRESSES)
    settings = tuple((name, environ[name]) for name in names if environ.get(name))
    with _caches_lock:
        return _caches.setdefault(settings, AwsSecretsCache(dict(settings)))


def _client(settings: Mapping[str, str]) -> Any:  # noqa: ANN401 - boto3 builds its classes when it runs
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise ProjectError(
            f"{AWS_SECRETS_VARIABLE} is set, and boto3 is not installed", hint="pip install 'flowai[aws]'"
        ) from None
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "max_attempts": MAX_ATTEMPTS},
    )
    session = boto3.session.Session(
        **{name.lower(): settings[name] for name in PASSED_VARIABLES if name in settings},
        region_name=next((settings[name] for name in _REGIONS if name in settings), None),
    )
    address = next((settings[name] for name in _ADDRESSES if name in settings), None)
    return session.client("secretsmanager", config=config, endpoint_url=address)


def _reason(error: Exception) -> str:
    """Return a short reason; the secret itself is in no error of boto3."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return f"{code}" if code else f"{type(error).__name__}: {error}"

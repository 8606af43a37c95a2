"""The only module that imports obstore: reads and writes S3, its alternatives, or a directory, by address."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flowai.errors import InfrastructureError, Place, UsageError
from flowai.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMES = ("s3", "gs", "az")
"""Supported object stores; the usual variables of their tools contain the credentials."""

BLOCK_BYTES = 8 << 20
"""Memory per object; larger objects are sent in parts of this size."""

MAX_RETRIES = 5
RETRY_LIMIT = timedelta(seconds=60)
_CONNECT_LIMIT = timedelta(seconds=5)
_REQUEST_LIMIT = timedelta(seconds=60)
_MAX_PIECES_AT_ONCE = 4
_MAX_REASON_CHARS = 300

_REFUSED = ("the store refuses", "check the credentials in the environment, and their permissions for this bucket")
_NO_CREDENTIALS = (
    "there are no credentials",
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the variables of your store",
)
_ERROR_HINTS = {
    "NoSuchBucket": ("there is no such bucket", "check its name and region; flowai creates no buckets"),
    "169.254.169.254": _NO_CREDENTIALS,  # the metadata service of cloud machines
    "credential": _NO_CREDENTIALS,
    "status code: 401": _REFUSED,
    "status code: 403": _REFUSED,
    "status code: 404": (
        "not found",
        "it was removed; `flowai events validate` with this address lists the missing files",
    ),
}
"""Text in a store's message, to problem and hint; obstore's exception classes do not distinguish them for listings."""
_OTHER_ERROR = ("the store does not answer as expected", "run it again: files copied so far stay there")
_S3_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """An object in a listing."""

    key: str
    """Its name below the address."""
    byte_count: int
    etag: str | None
    modified_at: datetime


def is_address(text: str) -> bool:
    """Return whether a text is the address of an object store, and not a directory."""
    return "://" in text


def check_address(address: str) -> None:
    """Raise UsageError for an unknown scheme, a missing bucket, or credentials in the address."""
    parts = urlsplit(address)
    if parts.scheme not in SCHEMES:
        known = ", ".join(f"`{scheme}://`" for scheme in SCHEMES)
        raise UsageError(f"found an address that begins with `{parts.scheme}://`", hint=f"expected {known} or a path")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"an address of `{parts.scheme}://` must not contain credentials",
            hint="set them in the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if not parts.netloc or parts.query or parts.fragment:
        raise UsageError(f"`{redact(address)}` names no bucket", hint=f"expected `{parts.scheme}://bucket/prefix`")


class ObjectStore:
    """Objects below an address; created by `open_store`.

    All methods raise InfrastructureError if the store is unreachable or refuses.
    """

    def __init__(self, address: str, inner: Any) -> None:  # noqa: ANN401 - one of obstore's classes
        self.address = address
        self._inner = inner

    def directories(self) -> list[str]:
        """Return the names of the directories below the address."""
        import obstore

        with self._guard_errors(""):
            listing = obstore.list_with_delimiter(self._inner)
            return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in listing["common_prefixes"])

    def objects(self, directory: str) -> dict[str, ObjectInfo]:
        """Return all objects of a directory by key."""
        import obstore

        with self._guard_errors(directory):
            return {
                meta["path"]: ObjectInfo(
                    key=meta["path"], byte_count=meta["size"], etag=meta["e_tag"], modified_at=meta["last_modified"]
                )
                for batch in obstore.list(self._inner, directory)
                for meta in batch
            }

    def put(self, key: str, path: Path) -> str | None:
        """Write a new object in one step and return its etag; raises FileExistsError if it exists."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        is_small = path.stat().st_size <= BLOCK_BYTES
        try:
            with self._guard_errors(key):
                result = obstore.put(
                    self._inner,
                    key,
                    path,
                    mode="create" if is_small else "overwrite",
                    use_multipart=not is_small,
                    chunk_size=BLOCK_BYTES,
                    max_concurrency=_MAX_PIECES_AT_ONCE,
                )
        except AlreadyExistsError as error:
            raise FileExistsError(key) from error
        return result["e_tag"]

    def blocks(self, key: str) -> Iterator[bytes]:
        """Read an object, block by block."""
        import obstore

        with self._guard_errors(key):
            for block in obstore.get(self._inner, key).stream(min_chunk_size=1 << 20):
                yield bytes(block)

    def read(self, key: str) -> bytes:
        """Read a small object."""
        return b"".join(self.blocks(key))

    @contextmanager
    def _guard_errors(self, key: str) -> Iterator[None]:
        """Convert the store's errors to one line without secrets."""
        from obstore.exceptions import AlreadyExistsError, BaseError

        place = Place(file="/".join(part for part in (self.address, key) if part))
        try:
            yield
        except AlreadyExistsError:
            raise
        except (BaseError, OSError, ValueError) as error:
            what, hint = next((text for sign, text in _ERROR_HINTS.items() if sign in str(error)), _OTHER_ERROR)
            raise InfrastructureError(f"{what}: {_reason(error)}", place=place, hint=hint) from None


def open_store(address: str, environ: Mapping[str, str]) -> ObjectStore:
    """Open `s3://bucket/prefix`, or a directory, which is created; no request is made yet.

    `environ` includes the project's .env. Raises UsageError if the address is not supported, or the extra `lake` is not
    installed.
    """
    try:
        import obstore.store
        from obstore.exceptions import BaseError
    except ImportError:
        raise UsageError("object stores need the extra `lake`", hint="pip install 'flowai[lake]'") from None
    if not is_address(address):
        directory = Path(address).expanduser().resolve()
        try:
            return ObjectStore(address, obstore.store.LocalStore(directory, mkdir=True))
        except (BaseError, OSError, ValueError) as error:
            raise InfrastructureError(f"cannot be written: {_reason(error)}", place=Place(file=address)) from None
    check_address(address)
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    options: dict[str, Any] = {
        "client_options": {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": _CONNECT_LIMIT,
            "timeout": _REQUEST_LIMIT,
        },
        "retry_config": {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_LIMIT},
    }
    if urlsplit(address).scheme == "s3":
        options["config"] = {name.lower(): environ[name] for name in _S3_VARIABLES if environ.get(name)}
    try:
        inner = obstore.store.from_url(address, **options)
    except (BaseError, ValueError) as error:
        raise UsageError(f"`{address}` cannot be opened: {_reason(error)}") from None
    return ObjectStore(address.rstrip("/"), inner)


def _reason(error: Exception) -> str:
    """Return the first line of the store's message; the others repeat the whole configuration."""
    text = str(error).strip().partition("\n")[0].split("<?xml")[0].strip()
    return redact(text)[:_MAX_REASON_CHARS] or type(error).__name__

"""Builds the TLS settings of connections from the usual environment variables."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name a bundle of certificates: OpenSSL's and httpx's, requests', curl's."""
_DIRECTORY_VARIABLE = "SSL_CERT_DIR"
_OFF = frozenset({"false", "0", "no", "off"})


def tls_settings(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext | bool:
    """Build aiohttp's `ssl` argument: the trusted certificates, or False where `SSL_VERIFY` turns the check off.

    `SSL_VERIFY` may name a bundle, too. Without any of the variables, the system's certificates and certifi's are
    trusted. A variable that names no existing path is ignored, as LiteLLM does.
    """
    verify = environ.get("SSL_VERIFY", "")
    if verify.strip().lower() in _OFF:
        return False
    paths = [Path(path) for path in (verify, *(environ.get(name, "") for name in _FILE_VARIABLES)) if path]
    bundle = next((path for path in paths if path.exists()), None)
    directories = [Path(path) for path in environ.get(_DIRECTORY_VARIABLE, "").split(os.pathsep) if path]
    directories = [path for path in directories if path.is_dir()]
    if bundle is None and not directories:
        context = ssl.create_default_context()
        _add_certifi(context)
        return context
    # an explicit choice replaces the defaults
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in filter(None, (bundle, *directories)):
        if path.is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    return context


def _add_certifi(context: ssl.SSLContext) -> None:
    """Trust certifi's certificates too: a slim container has none of its own."""
    import certifi

    context.load_verify_locations(cafile=certifi.where())

"""Finds the proxy of an address in the usual environment variables."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    import yarl


def proxy_of(address: yarl.URL) -> str | None:
    """Return the proxy for an address: `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, unless `NO_PROXY` excludes its host.

    `NO_PROXY` lists hosts, domains (with their subdomains), IP addresses and networks (`10.0.0.0/8`), or `*`.
    """
    host, proxies = address.host or "", getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(f"{host}:{address.port}") or _is_excluded_ip(host, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_excluded_ip(host: str, excluded: str) -> bool:
    """Return whether a host is an IP address in one of the networks; the standard library compares names only."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for name in excluded.split(","):
        try:
            if address in ipaddress.ip_network(name.strip().strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False

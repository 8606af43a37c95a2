"""S3 server on a loopback port."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


class S3Server:
    """A running server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._bucket_count = 0

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables for clients."""
        return {
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }

    def new_bucket(self) -> str:
        self._bucket_count += 1
        name = f"lake-{self._bucket_count}"
        self.request("PUT", name)
        return name

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        with urlopen(Request(f"{self.url}/{path}", data=body, method=method)) as answer:  # noqa: S310 - a loopback URL
            data: bytes = answer.read()
            return data


@contextmanager
def running_store() -> Iterator[S3Server]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()

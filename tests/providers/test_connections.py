"""Connections on real sockets: redirects, proxies, certificates, IPv6, and connections that a server has closed."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yarl
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.client_calls import complete, run

from flowai.errors import MalformedAnswerError, UnreachableError
from flowai.providers.http.connections import KEEP_ALIVE_S, MAX_REDIRECT_COUNT
from flowai.providers.http.proxies import proxy_of
from flowai.providers.http.tls import tls_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from flowai.providers import Completion, Request
    from flowai.providers.direct.client import OpenAIClient

KEY = "key-of-one-host"
COMMON_KEEP_ALIVE_S = 5.0
"""Of uvicorn, Node.js and gunicorn's threads; nginx and load balancers keep connections longer."""
BODY = b'data: {"choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
PART = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99\r\n\r\n: x"
"""Half of an answer; the connection closes after it."""
Answer = bytes | None
"""Bytes to send; None closes the connection without an answer."""


class RawServer:
    """Server that answers the requests in order with given bytes, the last answer for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.heads: list[bytes] = []
        self.connection_count = 0
        self.port = 0
        self._answers = answers

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
        async with await asyncio.start_server(self._connection, host, 0, ssl=tls) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), b":0"
                )
                await reader.readexactly(int(length.partition(b":")[2]))
                self.heads.append(head)
                answer = self._answers[min(len(self.heads), len(self._answers)) - 1]
                if answer is None:
                    break
                writer.write(answer)
                if answer is PART:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def redirect(location: str, status: int = 307) -> bytes:
    return f"HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()


def call(server: RawServer, ask: Callable[..., Request], count: int = 1, **options: Any) -> Completion:
    """Call a server so many times over one client and return the last answer."""

    async def work(client: OpenAIClient) -> Completion:
        async with server.serve(**options):
            address = f"{'https' if 'tls' in options else 'http'}://127.0.0.1:{server.port}/v1"
            for _ in range(count - 1):
                await client.complete(ask(api_base=address))
            return await client.complete(ask(api_base=address))

    answer: Completion = run(work)
    return answer


# --- redirects ---


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_within_the_host_keeps_the_key(status: int, ask: Callable[..., Request]) -> None:
    server = RawServer(redirect("/v2/chat/completions", status), OK)
    assert call(server, ask).text == "hello"
    assert server.heads[1].startswith(b"POST /v2/chat/completions ")
    assert all(b"authorization: bearer" in head.lower() for head in server.heads)


def test_a_redirect_to_another_host_never_carries_the_key(ask: Callable[..., Request]) -> None:
    async def work(client: OpenAIClient) -> Completion:
        async with RawServer(OK).serve() as other:
            async with RawServer(redirect(f"http://127.0.0.1:{other.port}/x")).serve() as server:
                answer = await client.complete(ask(api_base=f"http://127.0.0.1:{server.port}/v1", api_key=KEY))
            (head,) = other.heads
        assert b"authorization" not in head.lower()
        assert KEY.encode() not in head
        return answer

    assert run(work).text == "hello"


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_drops_the_request_is_an_error_with_the_address(
    status: int, ask: Callable[..., Request]
) -> None:
    server = RawServer(redirect("/elsewhere", status), OK)
    with pytest.raises(MalformedAnswerError, match=f"/elsewhere` \\({status}\\)"):
        call(server, ask)
    assert len(server.heads) == 1


def test_redirects_end(ask: Callable[..., Request]) -> None:
    server = RawServer(redirect("/again"))
    with pytest.raises(MalformedAnswerError, match="redirects more than"):
        call(server, ask)
    assert len(server.heads) == MAX_REDIRECT_COUNT + 1


def test_a_redirect_never_leaves_encryption(certificate: Certificate, ask: Callable[..., Request]) -> None:
    certificate.trust("SSL_CERT_FILE")
    server = RawServer(redirect("http://127.0.0.1:9/v1"))
    with pytest.raises(MalformedAnswerError, match="not encrypted"):
        call(server, ask, tls=certificate.context)


# --- kept connections ---


def test_idle_connections_close_before_common_servers_close_them() -> None:
    assert KEEP_ALIVE_S < COMMON_KEEP_ALIVE_S


def test_a_request_on_a_connection_that_the_server_closed_is_sent_again(ask: Callable[..., Request]) -> None:
    server = RawServer(OK, None, OK)
    assert call(server, ask, count=2).text == "hello"
    assert len(server.heads) == 3
    assert server.connection_count == 2


def test_a_new_connection_that_is_closed_without_an_answer_is_an_error(ask: Callable[..., Request]) -> None:
    server = RawServer(None)
    with pytest.raises(UnreachableError):
        call(server, ask)
    assert len(server.heads) == 1


def test_a_request_that_was_answered_in_part_is_never_sent_again(ask: Callable[..., Request]) -> None:
    server = RawServer(OK, PART)
    with pytest.raises(MalformedAnswerError):
        call(server, ask, count=2)
    assert len(server.heads) == 2


def test_a_client_may_be_used_by_several_event_loops(ask: Callable[..., Request]) -> None:
    assert [complete(ask()).text for _ in range(2)] == ["hello world"] * 2


def test_ipv6_addresses_are_called(ask: Callable[..., Request]) -> None:
    async def work(client: OpenAIClient) -> Completion:
        async with RawServer(OK).serve("::1") as server:
            return await client.complete(ask(api_base=f"http://[::1]:{server.port}/v1"))

    assert run(work).text == "hello"


# --- proxies ---


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize(
    ("address", "excluded", "is_used"),
    [
        ("https://api.example.com/v1", "", True),
        ("https://api.example.com/v1", "example.com", False),
        ("https://api.example.com/v1", ".example.com", False),
        ("https://api.example.com/v1", "other.com, api.example.com", False),
        ("https://api.example.com/v1", "ample.com", True),
        ("https://api.example.com:8443/v1", "api.example.com:8443", False),
        ("https://api.example.com/v1", "*", False),
        ("http://10.1.2.3/v1", "10.0.0.0/8", False),
        ("http://11.1.2.3/v1", "10.0.0.0/8", True),
        ("http://127.0.0.1:8000/v1", "127.0.0.1", False),
        ("http://[::1]:8000/v1", "::1", False),
        ("http://[fd00::7]/v1", "fd00::/8", False),
    ],
)
def test_no_proxy_excludes_hosts_domains_and_networks(
    address: str, excluded: str, *, is_used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", excluded)
    assert proxy_of(yarl.URL(address)) == ("http://proxy.example:3128" if is_used else None)


@pytest.mark.usefixtures("no_proxies")
def test_each_scheme_has_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
    monkeypatch.setenv("http_proxy", "http://two:2")
    assert proxy_of(yarl.URL("https://a.example/v1")) == "http://one:1"
    assert proxy_of(yarl.URL("http://a.example/v1")) == "http://two:2"


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
            "the proxy refused the connection: 407",
        ),
        (None, "connection closed without an answer"),
    ],
)
def test_a_proxy_that_refuses_is_named(
    answer: Answer, words: str, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: OpenAIClient) -> None:
        async with RawServer(answer).serve() as proxy:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            await client.complete(ask(api_base="https://api.example.com/v1"))

    with pytest.raises(UnreachableError, match=words):
        run(work)


@pytest.mark.usefixtures("no_proxies")
def test_a_proxy_that_is_down_is_named(ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match=r"the proxy 127\.0\.0\.1:9 cannot be reached") as caught:
        complete(ask(api_base="http://api.example.com/v1"))
    assert "NO_PROXY" in (caught.value.hint or "")


# --- certificates ---


class Certificate:
    """A self-signed certificate of 127.0.0.1."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = directory / "bundle.pem"
        self._monkeypatch = monkeypatch
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        now = datetime.now(UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
        private = directory / "key.pem"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.file, private)

    def trust(self, variable: str, value: str | None = None) -> None:
        self._monkeypatch.setenv(variable, value or str(self.file))


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR", "SSL_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    return Certificate(tmp_path, monkeypatch)


def test_an_unknown_certificate_is_refused_with_the_variable_that_helps(
    certificate: Certificate, ask: Callable[..., Request]
) -> None:
    with pytest.raises(UnreachableError, match=r"the certificate of 127\.0\.0\.1 is not trusted") as caught:
        call(RawServer(OK), ask, tls=certificate.context)
    assert "SSL_CERT_FILE" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", None),
        ("REQUESTS_CA_BUNDLE", None),
        ("SSL_VERIFY", None),
        ("SSL_VERIFY", "False"),
    ],
)
def test_the_usual_variables_choose_the_certificates(
    variable: str, value: str | None, certificate: Certificate, ask: Callable[..., Request]
) -> None:
    certificate.trust(variable, value)
    assert call(RawServer(OK), ask, tls=certificate.context).text == "hello"


def test_without_variables_public_certificates_are_trusted_and_a_missing_file_is_ignored(tmp_path: Path) -> None:
    for environ in ({}, {"SSL_CERT_FILE": str(tmp_path / "missing.pem")}):
        settings = tls_settings(environ)
        assert isinstance(settings, ssl.SSLContext)
        assert settings.verify_mode is ssl.CERT_REQUIRED
        assert settings.cert_store_stats()["x509_ca"] > 50


def test_a_directory_of_certificates_replaces_the_public_ones(tmp_path: Path) -> None:
    settings = tls_settings({"SSL_CERT_DIR": str(tmp_path)})
    assert isinstance(settings, ssl.SSLContext)
    assert settings.cert_store_stats()["x509_ca"] == 0

"""The guard of outgoing calls against real servers, real names and real TLS."""

import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from gzip import compress
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.http.outbound import (
    Address,
    AddressRefused,
    ConnectionFailed,
    HostNotResolved,
    OutboundSettings,
    OutboundTimedOut,
    Resolve,
    ResponseCompressed,
    ResponseTooLarge,
    UrlRefused,
    outbound_client,
    system_addresses,
)
from tests.played.listener import Listener, Reply, listening

LOOPBACK_TOO = OutboundSettings(allowed_networks=(ip_network("127.0.0.0/8"),))
NAME = "hooks.example.test"


def client(
    settings: OutboundSettings = LOOPBACK_TOO,
    *,
    timeout_seconds: float = 5.0,
    response_bytes_max: int = 1000,
    resolve: Resolve = system_addresses,
) -> httpx.AsyncClient:
    return outbound_client(
        settings, timeout_seconds=timeout_seconds, response_bytes_max=response_bytes_max, resolve=resolve
    )


def resolving_to(*answers: Sequence[str]) -> tuple[Resolve, Callable[[], int]]:
    """A name service that gives one answer after another, the last one for ever; and how often it was asked."""
    asked = 0

    async def resolve(host: str, port: int) -> Sequence[Address]:
        nonlocal asked
        asked += 1
        return [ip_address(text) for text in answers[min(asked, len(answers)) - 1]]

    return resolve, lambda: asked


async def test_a_permitted_address_is_called() -> None:
    async with listening() as server, client() as calls:
        server.respond = lambda request: Reply(200, body=request.body[::-1])
        answer = await calls.post(f"{server.url}/hook?a=1", content=b"abc")
    assert (answer.status_code, answer.content) == (200, b"cba")
    assert server.requests[0].path == "/hook?a=1"
    assert server.requests[0].headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["169.254.169.254"], ["10.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["8.8.8.8", "127.0.0.1"]],
)
async def test_a_name_with_any_refused_address_is_not_called(addresses: list[str]) -> None:
    resolve, _ = resolving_to(addresses)
    async with listening() as server, client(OutboundSettings(), resolve=resolve) as calls:
        with pytest.raises(AddressRefused) as refused:
            await calls.get(f"https://{NAME}:{server.port}/")
        assert server.connections == 0
    # Whoever may name a host, of a subscription or of a CRM's API, is not told where it leads to in our network.
    assert not any(address in refused.value.detail for address in addresses)


async def test_localhost_is_refused_after_the_system_resolved_it() -> None:
    """The name is told apart by its addresses here, as the check of the URL is not asked."""
    addresses = await system_addresses("localhost", 443)
    resolve, _ = resolving_to([str(address) for address in addresses])
    async with client(OutboundSettings(), resolve=resolve) as calls:
        with pytest.raises(AddressRefused):
            await calls.get(f"https://{NAME}/")


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """The second answer of the name service, to which a second look would lead, is never used."""
    resolve, asked = resolving_to(["127.0.0.1"], ["192.168.255.1"])
    async with listening() as server, client(resolve=resolve) as calls:
        answer = await calls.get(f"http://{NAME}:{server.port}/")
    assert answer.status_code == 204
    assert asked() == 1
    assert server.requests[0].headers["host"] == f"{NAME}:{server.port}"


async def test_a_name_is_checked_again_for_every_new_connection() -> None:
    resolve, _ = resolving_to(["127.0.0.1"], ["192.168.255.1"])
    async with listening() as server, client(resolve=resolve) as calls:
        server.respond = lambda _: Reply(200, headers={"connection": "close"})
        await calls.get(f"http://{NAME}:{server.port}/")
        with pytest.raises(AddressRefused):
            await calls.get(f"http://{NAME}:{server.port}/")


async def test_plain_http_does_not_reach_the_public_internet() -> None:
    resolve, _ = resolving_to(["8.8.8.8"])
    async with client(resolve=resolve) as calls:
        with pytest.raises(AddressRefused):
            await calls.get(f"http://{NAME}/")


async def test_a_url_that_is_never_called_is_refused_at_the_call_too() -> None:
    async with client(OutboundSettings()) as calls:
        for url in ("http://example.com/", "https://u:p@example.com/", "https://127.0.0.1/", "https://example.com:22/"):
            with pytest.raises(UrlRefused):
                await calls.get(url)


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    resolve, _ = resolving_to(["127.0.0.2", "127.0.0.1"])
    async with listening() as server, client(resolve=resolve) as calls:
        assert (await calls.get(f"http://{NAME}:{server.port}/")).status_code == 204


async def test_a_name_that_does_not_exist_is_told() -> None:
    async with client() as calls:
        with pytest.raises(HostNotResolved):
            await calls.get("https://does-not-exist.invalid/")


async def test_a_closed_port_is_told_as_a_failed_connection() -> None:
    async with listening() as server:
        url = server.url
    async with client() as calls:
        with pytest.raises(ConnectionFailed):
            await calls.get(url)


async def test_redirects_are_answers() -> None:
    async with listening() as server, client() as calls:
        server.respond = lambda _: Reply(302, headers={"location": f"{server.url}/elsewhere"})
        assert (await calls.get(server.url)).status_code == 302
        assert len(server.requests) == 1
        server.respond = lambda _: Reply(301, headers={"location": "https://[no url"})
        assert (await calls.get(server.url)).status_code == 301


async def test_an_answer_is_read_up_to_the_limit_and_refused_beyond() -> None:
    async with listening() as server, client(response_bytes_max=1000) as calls:
        server.respond = lambda _: Reply(200, body=b"x" * 1000)
        assert len((await calls.get(server.url)).content) == 1000
        server.respond = lambda _: Reply(200, body=b"x" * 1001)
        with pytest.raises(ResponseTooLarge):
            await calls.get(server.url)


async def test_the_status_of_an_answer_that_is_too_large_can_still_be_seen() -> None:
    async with listening() as server, client(response_bytes_max=10) as calls:
        server.respond = lambda _: Reply(503, body=b"x" * 100_000)
        async with calls.stream("GET", server.url) as answer:
            assert answer.status_code == 503
            with pytest.raises(ResponseTooLarge):
                await answer.aread()


async def test_a_compressed_answer_is_never_inflated() -> None:
    async with listening() as server, client(response_bytes_max=100_000) as calls:
        server.respond = lambda _: Reply(200, headers={"content-encoding": "gzip"}, body=compress(b"0" * 10_000_000))
        with pytest.raises(ResponseCompressed):
            await calls.get(server.url)
    assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_a_server_that_never_answers_times_out() -> None:
    async with listening() as server, client(timeout_seconds=0.2) as calls:
        server.respond = lambda _: Reply(hang=True)
        with pytest.raises(OutboundTimedOut):
            await calls.get(server.url)


async def test_a_server_that_drips_its_answer_times_out_as_a_whole() -> None:
    """Each byte comes well within the time, all of them do not."""
    async with listening() as server, client(timeout_seconds=0.5) as calls:
        server.respond = lambda _: Reply(200, body=b"x" * 500, drip_seconds=0.02)
        with pytest.raises(OutboundTimedOut):
            await calls.get(server.url)


async def test_cookies_are_not_kept() -> None:
    async with listening() as server, client() as calls:
        server.respond = lambda _: Reply(200, headers={"set-cookie": "session=1"})
        await calls.get(server.url)
        await calls.get(server.url)
    assert "cookie" not in server.requests[1].headers


def _certificate(directory: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """A server's context with a self-signed certificate for a name, and the file that makes it trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = directory / "certificate.pem", directory / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key_pem)
    return context, str(pem)


async def _https_answer(server: Listener, host: str, ca_file: str | None) -> int:
    settings = OutboundSettings(allowed_networks=(ip_network("127.0.0.0/8"),), ca_file=ca_file)
    resolve, _ = resolving_to(["127.0.0.1"])
    async with client(settings, resolve=resolve) as calls:
        return (await calls.get(f"https://{host}:{server.port}/")).status_code


async def test_tls_proves_the_name_and_not_the_address(tmp_path: Path) -> None:
    tls, pem = _certificate(tmp_path, NAME)
    names: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    async with listening(tls) as server:
        assert await _https_answer(server, NAME, pem) == 204
        with pytest.raises(ConnectionFailed):
            await _https_answer(server, "other.example.test", pem)
        with pytest.raises(ConnectionFailed):
            await _https_answer(server, NAME, None)
    assert names == [NAME, "other.example.test", NAME]

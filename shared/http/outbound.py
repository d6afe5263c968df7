"""Calls to other people's servers, which only ever reach addresses they may reach.

A host name says nothing about where it leads: it can resolve to this machine, to a private network or to a cloud's
metadata service, and to something else at the next look. So a name is resolved here, every address it has is checked,
and the connection is made to exactly an address that was checked, while TLS proves the *name*.

    async with outbound_client(settings, timeout_seconds=10) as client:
        answer = await client.post(url, content=body)

A call that gets no usable answer raises an OutboundError, one class a condition, and never an error of httpx. What they
say in detail names hosts and ports: it is for logs and for whoever configured the URL.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import SOCK_STREAM, gaierror
from typing import Annotated, Final, TypeAlias

import httpcore
import httpx
from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.kernel.errors import FieldError, InvalidInput, Unavailable

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]
"""The addresses of a host name, best first. Raises HostNotResolved."""

RESPONSE_BYTES_MAX: Final = 1_048_576
CONNECTIONS_MAX: Final = 100
_ADDRESSES_TRIED_MAX: Final = 3
_KEEPALIVE_SECONDS: Final = 15.0
_URL_CHARACTERS_MAX: Final = 2048

# Within the public unicast space of IPv6, what leads elsewhere or nowhere: IETF protocol assignments with Teredo,
# documentation, 6to4. Everything outside of it (mapped, NAT64, unique local, link-local, multicast …) is not public.
_IPV6_PUBLIC: Final = IPv6Network("2000::/3")
_IPV6_NOT_PUBLIC: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
# Beyond what `ipaddress` calls not global, in any of its versions.
_IPV4_NOT_PUBLIC: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "198.18.0.0/15",
            "224.0.0.0/3",
        ),
    )
)

_NUMBER: Final = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)\Z")
_VISIBLE: Final = re.compile(r"[^\x00-\x20\x7f\\]+\Z")
_DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}
_UNPRIVILEGED_PORT_MIN: Final = 1024


class OutboundError(Unavailable):
    """A call to another server got no usable answer; the same call may succeed later."""

    code = "outbound_failed"
    title = "Outgoing call failed"
    may_have_arrived: bool = True
    """Whether the request may have reached the server; False where nothing was sent."""


class AddressRefused(OutboundError):
    """The host has an address that must not be called."""

    code = "outbound_address_refused"
    title = "Address refused"
    may_have_arrived = False


class HostNotResolved(OutboundError):
    """The host name has no address at the moment."""

    code = "outbound_host_not_resolved"
    title = "Host not resolved"
    may_have_arrived = False


class ConnectionFailed(OutboundError):
    """No connection, no valid certificate for the name, or not HTTP."""

    code = "outbound_connection_failed"
    title = "Connection failed"


class OutboundTimedOut(OutboundError):
    """The whole answer was not there in the given time."""

    code = "outbound_timed_out"
    title = "Outgoing call timed out"


class ResponseTooLarge(OutboundError):
    """The answer has more bytes than the caller reads. Its status and headers were received."""

    code = "outbound_response_too_large"
    title = "Response too large"


class ResponseCompressed(OutboundError):
    """The answer's body is compressed although that was not requested. Its status and headers were received."""

    code = "outbound_response_compressed"
    title = "Response compressed"


class UrlRefused(InvalidInput):
    """The URL is not one that is called."""

    code = "outbound_url_refused"
    title = "URL refused"


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class OutboundSettings(BaseSettings):
    """`ATTAIN_OUTBOUND_…`: where calls may go beyond the public internet."""

    model_config = SettingsConfigDict(env_prefix="ATTAIN_OUTBOUND_", extra="ignore")

    allowed_networks: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_split)] = ()
    """Private networks that may be called, in CIDR, separated by commas; also by plain http. None by default."""
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""


def is_permitted(address: Address, allowed: Iterable[Network] = ()) -> bool:
    """Whether an address may be called: a public unicast one, or one in a network that is allowed."""
    return _is_listed(address, allowed) or _is_public(address)


def check_url(url: str, settings: OutboundSettings, *, pointer: str = "/url") -> None:
    """Refuse a URL that can never be called, when it is configured; what its name resolves to is checked at each call.

    Raises UrlRefused about the field at `pointer` unless it is https (http only where networks are allowed), has a host
    that is a name or a permitted address, port 443 (80 for http) or one from 1024 on, and neither user nor password nor
    fragment.
    """

    def refuse(message: str, accepted: str) -> UrlRefused:
        return UrlRefused(f"{pointer}: {message}", fields=[FieldError(pointer, message, accepted)])

    schemes = "https:// or http://" if settings.allowed_networks else "https://"
    if len(url) > _URL_CHARACTERS_MAX or _VISIBLE.match(url) is None:
        raise refuse("is not a URL", f"{schemes} and at most {_URL_CHARACTERS_MAX} visible characters")
    try:
        parsed = httpx.URL(url)
        host = parsed.host
    # A name that IDNA does not allow raises only when the host is read.
    except (httpx.InvalidURL, ValueError):
        raise refuse("is not a URL", f"{schemes}host/path") from None
    if parsed.scheme != "https" and not (parsed.scheme == "http" and settings.allowed_networks):
        raise refuse("has a scheme that is not called", schemes)
    if parsed.userinfo:
        raise refuse("has a user or password in it", "a URL without credentials")
    if parsed.fragment:
        raise refuse("has a fragment", "a URL without #")
    default_port = _DEFAULT_PORTS[parsed.scheme]
    port = default_port if parsed.port is None else parsed.port
    if port != default_port and not _UNPRIVILEGED_PORT_MIN <= port <= 65535:
        raise refuse(f"has port {port}", f"port {default_port}, or one from {_UNPRIVILEGED_PORT_MIN} to 65535")
    literal = _literal(host)
    if not host or literal == "":
        raise refuse("has a host that is neither a name nor an address", "a host name, or an address in full")
    if isinstance(literal, str):
        return
    listed = _is_listed(literal, settings.allowed_networks)
    if not listed and (parsed.scheme == "http" or not _is_public(literal)):
        raise refuse(f"has the address {literal}, which may not be called", "a host on the public internet")


async def system_addresses(host: str, port: int) -> Sequence[Address]:
    """The addresses by the system's resolver. Raises HostNotResolved."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=SOCK_STREAM)
    except (gaierror, UnicodeError) as error:
        raise HostNotResolved(f"{host} could not be resolved: {error}") from error
    return list(dict.fromkeys(ip_address(str(address[0])) for *_, address in found))


def outbound_client(
    settings: OutboundSettings,
    *,
    timeout_seconds: float,
    response_bytes_max: int = RESPONSE_BYTES_MAX,
    connections_max: int = CONNECTIONS_MAX,
    headers: Mapping[str, str] | None = None,
    resolve: Resolve = system_addresses,
) -> httpx.AsyncClient:
    """A client whose every call is checked; close it with `aclose` or `async with`.

    `timeout_seconds` is for a whole call, from the wait for a free connection to the last byte of the body. No
    redirect is followed: a 3xx is an answer like any other, and Location is left out of every answer. Cookies are not
    stored and proxies of the environment not used. Bodies are requested uncompressed, so that `response_bytes_max` is
    what a caller has in memory at most.

    Raises OutboundError of each call, and UrlRefused for a URL that `check_url` refuses.
    """
    return httpx.AsyncClient(
        transport=_GuardedTransport(
            settings,
            timeout_seconds=timeout_seconds,
            response_bytes_max=response_bytes_max,
            connections_max=connections_max,
            resolve=resolve,
        ),
        headers={"accept-encoding": "identity", "user-agent": "attain", **(headers or {})},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=timeout_seconds,
        follow_redirects=False,
        trust_env=False,
    )


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to nothing but addresses it has checked."""

    def __init__(self, resolve: Resolve, permitted: Callable[[Address], bool]) -> None:
        self._resolve = resolve
        self._permitted = permitted
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._resolve(host, port)
        if not addresses:
            raise HostNotResolved(f"{host} has no address")
        if not all(self._permitted(address) for address in addresses):
            # Where a name leads to in our network is not disclosed to whoever may configure a name.
            raise AddressRefused(f"{host} leads to an address that may not be called")
        tried = addresses[:_ADDRESSES_TRIED_MAX]
        share_seconds = None if timeout is None else timeout / len(tried)
        failure: Exception = HostNotResolved(f"{host} has no address")
        for address in tried:
            try:
                return await self._network.connect_tcp(str(address), port, share_seconds, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


@cache
def _trusting(ca_file: str | None) -> ssl.SSLContext:
    """The same for all clients: to read what this machine trusts takes a fiftieth of a second."""
    return ssl.create_default_context(cafile=ca_file)


class _GuardedTransport(httpx.AsyncBaseTransport):
    """One pool for https, and one for plain http, which reaches allowed networks only."""

    def __init__(
        self,
        settings: OutboundSettings,
        *,
        timeout_seconds: float,
        response_bytes_max: int,
        connections_max: int,
        resolve: Resolve,
    ) -> None:
        allowed = settings.allowed_networks
        context = _trusting(settings.ca_file)

        def pool(permitted: Callable[[Address], bool]) -> httpcore.AsyncConnectionPool:
            return httpcore.AsyncConnectionPool(
                ssl_context=context,
                max_connections=connections_max,
                keepalive_expiry=_KEEPALIVE_SECONDS,
                network_backend=_CheckedBackend(resolve, permitted),
            )

        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._response_bytes_max = response_bytes_max
        self._pools: Final = {
            "https": pool(lambda address: is_permitted(address, allowed)),
            "http": pool(lambda address: _is_listed(address, allowed)),
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        check_url(str(request.url), self._settings)
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        if not isinstance(request.stream, httpx.AsyncByteStream):
            raise TypeError("the body of an asynchronous request is needed")
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        outgoing = httpcore.Request(
            method=request.method,
            url=url,
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _translated(request.url.host):
            async with asyncio.timeout_at(deadline):
                answer = await self._pools[request.url.scheme].handle_async_request(outgoing)
        return httpx.Response(
            status_code=answer.status,
            # httpx works out where a redirect would lead to, and fails over one that is no URL.
            headers=[header for header in answer.headers if header[0].lower() != b"location"],
            stream=_BoundedBody(answer, host=request.url.host, deadline=deadline, bytes_max=self._response_bytes_max),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()


class _BoundedBody(httpx.AsyncByteStream):
    """A body that ends in an error when it has too many bytes, takes too long or would have to be inflated."""

    def __init__(self, answer: httpcore.Response, *, host: str, deadline: float, bytes_max: int) -> None:
        encodings = [value for name, value in answer.headers if name.lower() == b"content-encoding"]
        self._compressed = any(value.strip().lower() not in (b"", b"identity") for value in encodings)
        self._answer = answer
        self._host = host
        self._deadline = deadline
        self._bytes_max = bytes_max

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._compressed:
            raise ResponseCompressed(f"{self._host} sent a compressed body that was not asked for")
        chunks = self._answer.aiter_stream()
        received = 0
        while True:
            with _translated(self._host):
                async with asyncio.timeout_at(self._deadline):
                    chunk = await anext(chunks, None)
            if chunk is None:
                return
            received += len(chunk)
            if received > self._bytes_max:
                raise ResponseTooLarge(f"{self._host} sent more than {self._bytes_max} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()


@contextmanager
def _translated(host: str) -> Generator[None]:
    """What goes wrong in the block as an OutboundError."""
    try:
        yield
    except (TimeoutError, httpcore.TimeoutException) as error:
        failure: OutboundError = OutboundTimedOut(f"{host} did not answer in time")
        failure.may_have_arrived = not isinstance(error, httpcore.ConnectTimeout | httpcore.PoolTimeout)
        raise failure from error
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        failure = ConnectionFailed(f"{host}: {error or type(error).__name__}")
        failure.may_have_arrived = not isinstance(error, httpcore.ConnectError)
        raise failure from error


def _is_listed(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not _is_listed(address, _IPV4_NOT_PUBLIC)
    return address in _IPV6_PUBLIC and address.is_global and not _is_listed(address, _IPV6_NOT_PUBLIC)


def _literal(host: str) -> Address | str:
    """The address a host is, the name it is, or "" for an address in a form that readers disagree about."""
    name = host.rstrip(".").lower()
    try:
        return ip_address(name)
    except ValueError:
        pass
    if name == "localhost" or name.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    return "" if _NUMBER.match(name.rpartition(".")[2]) else name

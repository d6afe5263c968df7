"""Which addresses and URLs may be called."""

from ipaddress import ip_address, ip_network

import pytest

from shared.http.outbound import OutboundSettings, UrlRefused, check_url, is_permitted

PUBLIC = OutboundSettings(allowed_networks=())
PRIVATE_TOO = OutboundSettings(allowed_networks=(ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")))

REFUSED = [
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "this network"),
    ("10.0.0.1", "private"),
    ("100.64.0.1", "carrier-grade NAT"),
    ("100.127.255.254", "carrier-grade NAT"),
    ("127.0.0.1", "loopback"),
    ("127.255.0.1", "loopback"),
    ("169.254.169.254", "cloud metadata"),
    ("169.254.0.1", "link-local"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.8", "protocol assignments"),
    ("192.0.0.192", "cloud metadata of Oracle"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4 relay"),
    ("192.168.1.1", "private"),
    ("198.18.0.1", "benchmarks"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.250", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::7f00:1", "IPv4-compatible"),
    ("::ffff:127.0.0.1", "IPv4-mapped loopback"),
    ("::ffff:169.254.169.254", "IPv4-mapped metadata"),
    ("::ffff:8.8.8.8", "IPv4-mapped, whatever it maps"),
    ("64:ff9b::7f00:1", "NAT64 of loopback"),
    ("64:ff9b::808:808", "NAT64, whatever it maps"),
    ("64:ff9b:1::1", "local NAT64"),
    ("100::1", "discard"),
    ("2001::1", "Teredo"),
    ("2001:10::1", "ORCHID"),
    ("2001:db8::1", "documentation"),
    ("2002:7f00:1::", "6to4 of loopback"),
    ("2002:808:808::1", "6to4"),
    ("3fff::1", "documentation"),
    ("5f00::1", "segment routing"),
    ("fc00::1", "unique local"),
    ("fd00:ec2::254", "cloud metadata of AWS"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local with a zone"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
]


@pytest.mark.parametrize(("address", "kind"), REFUSED, ids=[f"{address}-{kind}" for address, kind in REFUSED])
def test_an_address_that_is_not_public_is_refused(address: str, kind: str) -> None:
    assert not is_permitted(ip_address(address)), kind


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "100.63.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::8a"]
)
def test_a_public_address_is_permitted(address: str) -> None:
    assert is_permitted(ip_address(address))


def test_an_allowed_network_permits_its_own_addresses_only() -> None:
    allowed = PRIVATE_TOO.allowed_networks
    assert is_permitted(ip_address("10.1.2.3"), allowed)
    assert is_permitted(ip_address("fd00:1::5"), allowed)
    assert not is_permitted(ip_address("10.2.0.1"), allowed)
    assert not is_permitted(ip_address("::ffff:10.1.2.3"), allowed)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/hooks?tenant=1",
        "https://example.com:8443/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
        "https://täst.example/",
    ],
)
def test_a_public_https_url_is_accepted(url: str) -> None:
    check_url(url, PUBLIC)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.com/", "scheme"),
        ("ftp://example.com/", "scheme"),
        ("example.com/hooks", "scheme"),
        ("", "not a URL"),
        ("https://", "host"),
        ("https:///path", "host"),
        ("https://user:secret@example.com/", "user or password"),
        ("https://user@example.com/", "user or password"),
        ("https://example.com/#top", "fragment"),
        ("https://example.com:25/", "port 25"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:99999/", "port 99999"),
        ("https://example.com/a b", "not a URL"),
        ("https://example.com\\@10.0.0.1/", "not a URL"),
        ("https://example.com/\n", "not a URL"),
        ("https://" + "a" * 2050, "not a URL"),
        ("https://127.0.0.1/", "127.0.0.1"),
        ("https://localhost/", "127.0.0.1"),
        ("https://api.localhost./", "127.0.0.1"),
        ("https://10.1.0.1:8443/", "10.1.0.1"),
        ("https://[::1]/", "::1"),
        ("https://[::ffff:10.0.0.1]/", "may not be called"),
        ("https://169.254.169.254/latest/meta-data", "169.254.169.254"),
        ("https://2130706433/", "neither a name nor an address"),
        ("https://0x7f000001/", "neither a name nor an address"),
        ("https://127.1/", "neither a name nor an address"),
        ("https://xn--/", "not a URL"),
        ("https://0177.0.0.1/", "not a URL"),
    ],
)
def test_a_url_that_can_never_be_called_is_refused_with_its_field(url: str, told: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        check_url(url, PUBLIC, pointer="/target/url")
    (field,) = refused.value.fields
    assert field.pointer == "/target/url"
    assert told in field.message
    assert field.accepted


def test_plain_http_goes_to_allowed_networks_only() -> None:
    check_url("http://10.1.0.1:8080/", PRIVATE_TOO)
    check_url("http://hooks.internal/", PRIVATE_TOO)
    check_url("https://10.1.0.1/", PRIVATE_TOO)
    for url in ("http://8.8.8.8/", "http://10.2.0.1/", "https://10.2.0.1/", "http://example.com:443/"):
        with pytest.raises(UrlRefused):
            check_url(url, PRIVATE_TOO)


def test_the_environment_names_allowed_networks_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OutboundSettings().allowed_networks == ()
    monkeypatch.setenv("ATTAIN_OUTBOUND_ALLOWED_NETWORKS", "10.1.0.0/16, fd00:1::/32")
    assert OutboundSettings().allowed_networks == PRIVATE_TOO.allowed_networks

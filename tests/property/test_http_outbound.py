"""Whatever a URL looks like, it is accepted or refused in words, and what is accepted is what is called."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import httpx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.http.outbound import OutboundSettings, UrlRefused, check_url, is_permitted

PUBLIC = OutboundSettings(allowed_networks=())
PRIVATE_TOO = OutboundSettings(allowed_networks=(ip_network("10.0.0.0/8"),))

hosts = st.one_of(
    st.text(alphabet="abxn-.019:[]%@#/\\?_ é١。", max_size=30),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.integers(0, 2**33).map(str),
    st.integers(0, 2**33).map(hex),
)
urls = st.one_of(
    st.text(max_size=60),
    st.builds(
        lambda scheme, host, port, path: f"{scheme}://{host}{port}{path}",
        st.sampled_from(["https", "http", "HTTPS", "ftp", ""]),
        hosts,
        st.one_of(st.just(""), st.integers(-1, 70_000).map(lambda port: f":{port}")),
        st.sampled_from(["", "/", "/a?b=c", "/%zz", "?q", "#f"]),
    ),
)


@settings(max_examples=100, deadline=None)
@given(urls, st.sampled_from([PUBLIC, PRIVATE_TOO]))
@example("https://xn--/", PUBLIC)
@example("https://xn--a-ecp.ru/", PUBLIC)
@example("https://[::1", PUBLIC)
@example("https://a:99999999999999999999/", PUBLIC)
@example("https://" + "a" * 300 + ".example/", PUBLIC)
@example("https://a..example/", PUBLIC)
def test_a_url_is_accepted_or_refused_in_words(url: str, outbound: OutboundSettings) -> None:
    try:
        check_url(url, outbound)
    except UrlRefused as refused:
        assert [field.pointer for field in refused.fields] == ["/url"]
        return
    parsed = httpx.URL(url)
    assert parsed.scheme == "https" or outbound is PRIVATE_TOO
    assert parsed.raw_host
    assert not parsed.userinfo


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_passes_in_the_clothes_of_ipv6(address: IPv4Address) -> None:
    number = int(address)
    clothes = [
        IPv6Address(number),
        IPv6Address((0xFFFF << 32) + number),
        IPv6Address((0x64FF9B << 96) + number),
        IPv6Address((0x2002 << 112) + (number << 80)),
        IPv6Address((0x20010000 << 96) + (number ^ 0xFFFFFFFF)),
    ]
    assert [each for each in clothes if is_permitted(each)] == []


@given(st.ip_addresses())
def test_what_the_standard_library_calls_special_is_never_permitted(address: IPv4Address | IPv6Address) -> None:
    if is_permitted(address):
        assert not (
            address.is_private
            or address.is_loopback
            or address.is_link_local
            or address.is_multicast
            or address.is_unspecified
            or address.is_reserved
        )

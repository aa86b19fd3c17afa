from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.client_address import MAX_HOPS, NO_PROXIES, client_address, throttle_group, trusted_networks

PROXIES = trusted_networks(("10.0.0.0/8", "192.0.2.7", "fd00::/8", "unix"))
PROXY = "10.0.0.1"

hops = st.one_of(
    st.ip_addresses().map(lambda address: str(address).encode()),
    st.binary(max_size=90),
    st.sampled_from(
        [b"", b" ", b"unknown", b"10.0.0.2", b"[::1]:80", b"1.2.3.4:567", b"::ffff:1.2.3.4", b"fe80::1%eth0"]
    ),
)
headers = st.lists(st.lists(hops, max_size=40).map(b", ".join), max_size=3)
peers = st.one_of(st.none(), st.ip_addresses().map(str), st.text(max_size=90), st.sampled_from([PROXY, "unix"]))


def test_without_proxies_the_peer_is_the_client():
    assert client_address("203.0.113.5", [b"1.1.1.1"], NO_PROXIES) == "203.0.113.5"


def test_a_peer_that_is_no_proxy_cannot_say_who_it_is():
    assert client_address("203.0.113.5", [b"1.1.1.1"], PROXIES) == "203.0.113.5"


def test_a_trusted_proxy_says_who_the_client_is():
    assert client_address(PROXY, [b"203.0.113.5"], PROXIES) == "203.0.113.5"


def test_a_trusted_proxy_that_says_nothing_is_the_client():
    assert client_address(PROXY, [], PROXIES) == PROXY


def test_the_right_most_address_that_is_no_proxy_counts():
    assert client_address(PROXY, [b"6.6.6.6, 203.0.113.5, 10.2.2.2, 192.0.2.7"], PROXIES) == "203.0.113.5"


def test_several_headers_are_one_list():
    assert client_address(PROXY, [b"6.6.6.6", b"203.0.113.5", b"10.2.2.2, 10.3.3.3"], PROXIES) == "203.0.113.5"


def test_where_all_are_proxies_the_first_one_counts():
    assert client_address(PROXY, [b"10.0.0.9, 10.0.0.8"], PROXIES) == "10.0.0.9"


@pytest.mark.parametrize("garbage", [b"unknown", b"", b"_hidden", b"1.2.3", b"1.2.3.4:x", b"[::1", b"1" * 500, b"\xff"])
def test_garbage_ends_the_walk_and_the_last_good_address_counts(garbage):
    assert client_address(PROXY, [b"6.6.6.6, " + garbage + b", 10.0.0.2"], PROXIES) == "10.0.0.2"


@pytest.mark.parametrize(
    ("hop", "client"),
    [
        (b"1.2.3.4:567", "1.2.3.4"),
        (b"[2001:db8::1]:80", "2001:db8::1"),
        (b"[2001:db8::1]", "2001:db8::1"),
        (b"2001:DB8:0::1", "2001:db8::1"),
        (b"::ffff:1.2.3.4", "1.2.3.4"),
        (b"[::ffff:1.2.3.4]:9", "1.2.3.4"),
        (b"fe80::1%eth0", "fe80::1"),
    ],
)
def test_ports_brackets_zones_and_mapped_addresses_are_understood(hop, client):
    assert client_address(PROXY, [hop], PROXIES) == client


def test_a_mapped_peer_is_an_ipv4_proxy():
    assert client_address("::ffff:10.0.0.1", [b"203.0.113.5"], PROXIES) == "203.0.113.5"


def test_a_mapped_network_is_an_ipv4_network():
    assert client_address(PROXY, [b"203.0.113.5"], trusted_networks(["::ffff:10.0.0.0/104"])) == "203.0.113.5"


def test_an_ipv6_proxy_is_trusted_by_its_network():
    assert client_address("fd00::1", [b"203.0.113.5"], PROXIES) == "203.0.113.5"


@pytest.mark.parametrize("peer", [None, ""])
def test_a_unix_socket_is_a_proxy_only_where_the_setting_says_so(peer):
    assert client_address(peer, [b"203.0.113.5"], PROXIES) == "203.0.113.5"
    assert client_address(peer, [b"203.0.113.5"], trusted_networks(["0.0.0.0/0"])) == "unix"


def test_a_peer_without_an_address_is_itself():
    assert client_address("testclient", [b"203.0.113.5"], PROXIES) == "testclient"


def test_hops_beyond_the_bound_are_not_looked_at():
    proxies = [b"10.0.0.%d" % number for number in range(MAX_HOPS)]
    assert client_address(PROXY, [b", ".join([b"203.0.113.5", *proxies])], PROXIES) == "10.0.0.0"
    assert client_address(PROXY, [b"203.0.113.5", b", ".join(proxies)], PROXIES) == "10.0.0.0"
    assert client_address(PROXY, [b", ".join([b"203.0.113.5", *proxies[1:]])], PROXIES) == "203.0.113.5"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "*", "proxy.local", "10.0.0.0/33", "fe80::1%eth0/64"])
def test_what_is_no_network_is_refused_by_name(text):
    with pytest.raises(ValueError, match="it takes addresses, networks") as caught:
        trusted_networks(["10.0.0.0/8", text])
    assert text in str(caught.value)


def test_spaces_around_a_network_do_not_matter():
    assert trusted_networks([" 10.0.0.0/8 "]) == trusted_networks(["10.0.0.0/8"])


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("unix", "unix"),
    ],
)
def test_ipv6_is_slowed_by_its_network(address, group):
    assert throttle_group(address) == group


@given(peers, headers)
def test_no_peer_and_no_header_is_too_strange(peer, forwarded_for):
    assert throttle_group(client_address(peer, forwarded_for, PROXIES))


@given(
    headers,
    st.ip_addresses(v=4, network="203.0.113.0/24"),
    st.lists(st.sampled_from([b"10.9.9.9", b"192.0.2.7"]), max_size=MAX_HOPS - 1),
)
def test_what_the_client_made_up_never_matters(made_up, client, proxies):
    forwarded_for = [*made_up, b", ".join([str(client).encode(), *proxies])]
    assert client_address(PROXY, forwarded_for, PROXIES) == str(client)


@given(headers, st.ip_addresses(network="203.0.113.0/24"))
def test_a_client_without_a_proxy_cannot_make_up_anything(made_up, client):
    assert client_address(str(client), made_up, PROXIES) == str(client)

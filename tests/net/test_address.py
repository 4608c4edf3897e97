"""Addresses as values: what is one, what it stands for, what it carries."""
from __future__ import absolute_import, division, print_function

import sys

import pytest

from geproxy import memo
from geproxy.net import address
from geproxy.net.address import (IP, PRESETS, SPECIAL, client_network, is_ip, kind, parse_ip, parse_network, show_ip, unmap,
                                 unwrap, within)


@pytest.mark.parametrize('text, version, value', [
    ('0.0.0.0', 4, 0),
    ('1.2.3.4', 4, 0x01020304),
    ('255.255.255.255', 4, 0xffffffff),
    ('::', 6, 0),
    ('::1', 6, 1),
    ('fe80::1', 6, 0xfe80 << 112 | 1),
    ('FE80::A', 6, 0xfe80 << 112 | 10),
    ('fe80::1%eth0', 6, 0xfe80 << 112 | 1),
    ('::ffff:1.2.3.4', 6, 0xffff01020304),
    ('1:2:3:4:5:6:7:8', 6, 0x00010002000300040005000600070008),
])
def test_an_address_is_a_version_and_a_number(text, version, value):
    assert parse_ip(text) == IP(version, value)
    assert is_ip(text)


@pytest.mark.parametrize('host, text', [
    (b'127.1', '127.0.0.1'), (b'2130706433', '127.0.0.1'), (b'0x7f.1', '127.0.0.1'), (b'0177.0.0.1', '127.0.0.1'),
    (b'127.0.0.1.', '127.0.0.1'), (b'1.2.3.4', '1.2.3.4'), (b'0169.254.169.254', '169.254.169.254'), (b'009.9.9.9', '9.9.9.9'),
    (b'::1', '::1'), (b'0:0::1', '::1'), (b'::ffff:127.0.0.1', '::ffff:127.0.0.1'), (b'fe80::1%eth0', 'fe80::1'),
    (b'localhost', '127.0.0.1'), (b'x.localhost.', '127.0.0.1'),
    (b'', None), (b'.', None), (b'a.test', None), (b'1.2.3.4.5', None), (b'256.1.1.1', None), (b'0x7g', None), (b'0a.test', None),
    (b'1.2.3.4.test', None), (b'xlocalhost', None), (b'[::1]', None), (b'f\xfcr.test', None)])
def test_a_host_that_some_program_reads_as_an_address_is_known(host, text):
    assert address.known_address(host) == text


@pytest.mark.parametrize('text', [
    '', ' ', ':', ':::', '1', '1.2.3', '1.2.3.4.5', '1.2.3.256', '01.2.3.4', '1.2.3.4 ', ' 1.2.3.4', '1.2.3.4\n',
    '127.1', '0x7f.1', '0x7f000001', '2130706433', '017700000001', '1.2.3.-4', '1..2.3', '1.2.3.4\x00', 'localhost',
    '1::2::3', '1:2:3', '12345::', 'g::', '[::1]', '::1/128', '::1 ', '1.2.3.4:80', '::256.1.1.1', '%eth0',
])
def test_everything_else_is_a_name_or_nothing(text):
    assert not is_ip(text)
    with pytest.raises(ValueError):
        parse_ip(text)


@pytest.mark.parametrize('text, shown', [
    ('1.2.3.4', '1.2.3.4'),
    ('0.0.0.0', '0.0.0.0'),
    ('::', '::'),
    ('0:0:0:0:0:0:0:1', '::1'),
    ('2001:DB8:0:0::1', '2001:db8::1'),
    ('::ffff:102:304', '::ffff:1.2.3.4'),
])
def test_an_address_is_shown_in_its_usual_form(text, shown):
    assert show_ip(parse_ip(text)) == shown
    assert type(show_ip(parse_ip(text))) is str


@pytest.mark.parametrize('text, inside, outside', [
    ('10.0.0.0/8', '10.255.255.255', '11.0.0.0'),
    ('10.1.2.3', '10.1.2.3', '10.1.2.4'),
    ('10.1.2.3/32', '10.1.2.3', '10.1.2.2'),
    ('0.0.0.0/0', '255.255.255.255', '::'),
    ('128.0.0.0/1', '255.0.0.0', '127.255.255.255'),
    ('fc00::/7', 'fdff::1', 'fe00::'),
    ('::1', '::1', '::2'),
    ('::/0', 'ffff::', '0.0.0.0'),
    ('::ffff:0:0/96', '::ffff:1.2.3.4', '1.2.3.4'),
])
def test_a_network_holds_its_own_and_no_other(text, inside, outside):
    network = parse_network(text)
    assert within(parse_ip(inside), [parse_network('192.0.2.1'), network]) is network
    assert within(parse_ip(outside), [network]) is None
    assert network.text == text


@pytest.mark.parametrize('text, what', [
    ('10.0.0.0/33', 'prefix length from 0 to 32'),
    ('10.0.0.0/', 'prefix length'),
    ('10.0.0.0/-1', 'prefix length'),
    ('10.0.0.0/8/8', 'prefix length'),
    ('10.0.0.0/255.0.0.0', 'prefix length'),
    ('::/129', 'prefix length from 0 to 128'),
    ('10.0.0.1/8', 'did you mean 10.0.0.0/8?'),
    ('fe80::1/10', 'did you mean fe80::/10?'),
    ('10.0.0/8', 'not an IP address'),
    ('example.com', 'not an IP address'),
    ('', 'not an IP address'),
])
def test_an_invalid_network_raises_an_error_with_the_reason(text, what):
    with pytest.raises(ValueError) as raised:
        parse_network(text)
    assert what in str(raised.value)


@pytest.mark.parametrize('name, first, last', [
    ('loopback', '127.0.0.0', '127.255.255.255'),
    ('loopback', '::1', '::1'),
    ('unspecified', '0.0.0.0', '0.255.255.255'),
    ('unspecified', '::', '::'),
    ('private', '10.0.0.0', '10.255.255.255'),
    ('private', '172.16.0.0', '172.31.255.255'),
    ('private', '192.168.0.0', '192.168.255.255'),
    ('private', '100.64.0.0', '100.100.100.199'),
    ('private', '100.100.100.201', '100.127.255.255'),
    ('private', 'fc00::', 'fd00:42::41'),
    ('private', 'fd00:ec3::', 'fd20:ce::253'),
    ('private', 'fd20:ce::255', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'),
    ('metadata', '169.254.169.254', '169.254.169.254'),
    ('metadata', '169.254.170.2', '169.254.170.2'),
    ('metadata', '100.100.100.200', '100.100.100.200'),
    ('metadata', '192.0.0.192', '192.0.0.192'),
    ('metadata', '168.63.129.16', '168.63.129.16'),
    ('metadata', 'fd20:ce::254', 'fd20:ce::254'),
    ('metadata', 'fd00:ec2::', 'fd00:ec2:ffff:ffff:ffff:ffff:ffff:ffff'),       # AWS: all of its services
    ('metadata', 'fd00:42::42', 'fd00:42::42'),
    ('metadata', 'fd00:a9fe:a9fe::1', 'fd00:a9fe:a9fe::1'),
    ('metadata', 'fd00:c1::a9fe:a9fe', 'fd00:c1::a9fe:a9fe'),
    ('metadata', 'fd00:100::100:200', 'fd00:100::100:200'),
    ('metadata', 'fe80::a9fe:a9fe', 'fe80::a9fe:a9fe'),
    ('metadata', '169.254.42.42', '169.254.42.42'),
    ('metadata', '169.254.170.23', '169.254.170.23'),
    ('metadata', '169.254.0.23', '169.254.0.23'),
    ('metadata', '192.80.8.124', '192.80.8.124'),
    ('link-local', '169.254.0.0', '169.254.0.22'),
    ('link-local', '169.254.42.43', '169.254.169.251'),
    ('link-local', '169.254.169.253', '169.254.169.253'),
    ('link-local', '169.254.170.3', '169.254.170.22'),
    ('link-local', '169.254.170.24', '169.254.255.255'),
    ('link-local', 'fe80::', 'febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff'),
    ('multicast', '224.0.0.0', '239.255.255.255'),
    ('multicast', 'ff00::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'),
    ('reserved', '192.0.0.0', '192.0.0.8'),
    ('reserved', '192.0.0.11', '192.0.0.191'),
    ('reserved', '192.0.2.0', '192.0.2.255'),
    ('reserved', '192.88.99.0', '192.88.99.255'),
    ('reserved', '198.18.0.0', '198.19.255.255'),
    ('reserved', '198.51.100.0', '198.51.100.255'),
    ('reserved', '203.0.113.0', '203.0.113.255'),
    ('reserved', '240.0.0.0', '255.255.255.255'),
    ('reserved', '::2', '::ffff:ffff'),
    ('reserved', '::ffff:0:0', '::ffff:ffff:ffff'),
    ('reserved', '64:ff9b:1::', '64:ff9b:1:ffff:ffff:ffff:ffff:ffff'),
    ('reserved', '100::', '100::ffff:ffff:ffff:ffff'),
    ('reserved', '100:0:0:1::', '100::1:ffff:ffff:ffff:ffff'),
    ('reserved', '2001:db8::', '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'),
    ('reserved', '2001:2::', '2001:2::ffff'),
    ('reserved', '3fff::', '3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff'),
    ('reserved', '5f00::', '5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff'),
    ('reserved', 'fec0::', 'feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'),
    ('public', '1.0.0.0', '9.255.255.255'),
    ('public', '11.0.0.0', '100.63.255.255'),
    ('public', '100.128.0.0', '126.255.255.255'),
    ('public', '128.0.0.0', '168.63.129.15'),
    ('public', '172.32.0.0', '191.255.255.255'),
    ('public', '192.0.0.9', '192.0.0.10'),
    ('public', '192.0.1.0', '192.0.1.255'),
    ('public', '198.20.0.0', '198.51.99.255'),
    ('public', '203.0.114.0', '223.255.255.255'),
    ('public', '64:ff9b::', '64:ff9b::ffff:ffff'),
    ('public', '2001::', '2001::ffff:ffff:ffff:ffff:ffff:ffff'),
    ('public', '2001:4860::', '2001:db7:ffff:ffff:ffff:ffff:ffff:ffff'),
    ('public', '2002::', '3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff'),
])
def test_a_range_has_the_purpose_of_the_registries_from_its_first_to_its_last_address(name, first, last):
    assert (kind(parse_ip(first)), kind(parse_ip(last))) == (name, name)


@pytest.mark.parametrize('text, carried', [
    ('8.8.8.8', '8.8.8.8'),
    ('2001:4860::8888', '2001:4860::8888'),
    ('::ffff:127.0.0.1', '127.0.0.1'),
    ('::ffff:0:127.0.0.1', '::ffff:0:127.0.0.1 127.0.0.1'),
    ('64:ff9b::127.0.0.1', '64:ff9b::7f00:1 127.0.0.1'),
    ('2002:7f00:1::5', '2002:7f00:1::5 127.0.0.1'),
    ('2001:0:4136:e378:8000:63bf:3fff:fdd2', '2001:0:4136:e378:8000:63bf:3fff:fdd2 65.54.227.120 192.0.2.45'),
    ('64:ff9b:1::127.0.0.1', '64:ff9b:1::7f00:1'),
])
def test_an_address_that_carries_another_is_judged_by_both(text, carried):
    assert unwrap(parse_ip(text)) == [parse_ip(word) for word in carried.split()]


@pytest.mark.parametrize('text, plain', [
    ('::ffff:10.0.0.1', '10.0.0.1'),
    ('10.0.0.1', '10.0.0.1'),
    ('::1', '::1'),
    ('64:ff9b::10.0.0.1', '64:ff9b::10.0.0.1'),
    ('::fffe:10.0.0.1', '::fffe:10.0.0.1'),
])
def test_only_a_mapped_address_stands_for_another(text, plain):
    assert unmap(parse_ip(text)) == parse_ip(plain)


def test_the_special_kinds_are_presets_and_the_public_is_none():
    assert set(SPECIAL) < set(PRESETS)
    assert 'private' in PRESETS and 'any' in PRESETS and 'public' not in PRESETS
    assert within(parse_ip('8.8.8.8'), PRESETS['any']) and within(parse_ip('::1'), PRESETS['any'])


@pytest.mark.parametrize('text, counted', [
    ('10.0.0.1', '10.0.0.1'), ('127.0.0.1', '127.0.0.1'), ('::1', '::1'), ('2001:db8:0:1::1', '2001:db8:0:1::/64'),
    ('2001:db8:0:1:ffff:ffff:ffff:ffff', '2001:db8:0:1::/64'), ('2001:db8:0:2::1', '2001:db8:0:2::/64')])
def test_a_client_is_counted_by_its_ipv4_address_or_its_ipv6_network(text, counted):
    assert client_network(text) == counted


@pytest.mark.skipif(not sys.flags.hash_randomization, reason='Python 2 without -R: hash() of a text is known as well')
def test_addresses_cannot_be_chosen_to_have_one_hash():
    # Integers this far apart have the same.
    step = sys.hash_info.modulus if hasattr(sys, 'hash_info') else 2 ** 64 - 1
    chosen = [IP(6, (0x20010db8 << 96) + step * number) for number in range(1000)]
    assert len(set(hash(ip.value) for ip in chosen)) == 1
    assert len(set(hash(ip) for ip in chosen)) > 900


def test_an_address_is_the_same_however_it_was_made():
    assert parse_ip('::ffff:10.0.0.1') != parse_ip('10.0.0.1') == unmap(parse_ip('::ffff:10.0.0.1')) == IP(4, 0x0a000001)
    assert len(set([parse_ip('2001:DB8::1'), parse_ip('2001:db8:0::1'), IP(6, 0x20010db8 << 96 | 1)])) == 1
    assert repr(IP(4, 1)) == 'IP(version=4, value=1)'


@pytest.mark.parametrize('prefix, counted', [
    (128, '2001:db8:1:2:3::5'), (127, '2001:db8:1:2:3::4/127'), (64, '2001:db8:1:2::/64'), (56, '2001:db8:1::/56'),
    (1, '::/1')])
def test_how_much_of_ipv6_counts_as_one_can_be_chosen(prefix, counted):
    assert client_network('2001:db8:1:2:3::5', prefix) == counted
    assert client_network('10.0.0.1', prefix) == '10.0.0.1' and client_network('::1', prefix) == '::1'


def test_addresses_are_remembered_by_their_text():
    # Whoever owns a network can choose addresses whose numbers all have one hash: these have.
    numbers = [(0x2001 << 112) + number * (2 ** 61 - 1) for number in range(1, 50)]
    for _ in range(3):
        texts = [address.show_ip(address.IP(6, number)) for number in numbers]
        assert [parse_ip(text).value for text in texts] == numbers
    memos = [each for each in vars(address).values() if isinstance(each, memo.Memo)] + [parse_ip.__self__]
    assert len(memos) == 2
    for each in memos:
        assert len(each) >= len(numbers) and all(isinstance(key, str) for key in each)

"""What the value of an option may be: what each kind takes, and what it says of the rest."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import address, kinds


@pytest.mark.parametrize('kind, text, value', [
    (kinds.seconds, '20', 20.0),
    (kinds.seconds, '0.5', 0.5),
    (kinds.seconds, '500ms', 0.5),
    (kinds.seconds, '1 s', 1.0),
    (kinds.seconds, '2m', 120.0),
    (kinds.seconds, '2min', 120.0),
    (kinds.seconds, '1.5h', 5400.0),
    (kinds.seconds, '3650d', 315360000.0),
    (kinds.octets, '1k', 1024),
    (kinds.octets, '65536', 65536),
    (kinds.octets, '64K', 65536),
    (kinds.octets, '64 kb', 65536),
    (kinds.octets, '1m', 1048576),
    (kinds.octets, '1g', 1 << 30),
    (kinds.many_octets, '2t', 2 << 40),
    (kinds.per_second, '50', 50.0),
    (kinds.per_second, '0.5', 0.5),
    (kinds.or_off(kinds.octets), 'off', None),
    (kinds.or_off(kinds.octets), '1m', 1 << 20),
    (kinds.count, '0', 0),
    (kinds.count, '007', 7),
    (kinds.count, '999999999', 999999999),
    (kinds.ipv6_prefix, '1', 1),
    (kinds.ipv6_prefix, '128', 128),
    (kinds.count_or_auto, 'auto', None),
    (kinds.count_or_auto, '1', 1),
    (kinds.ports, '', ()),
    (kinds.ports, '80', ((80, 80),)),
    (kinds.ports, '80,443, 8080', ((80, 80), (443, 443), (8080, 8080))),
    (kinds.ports, '80 443\t1024-65535', ((80, 80), (443, 443), (1024, 65535))),
    (kinds.ports, 'any', ((1, 65535),)),
    (kinds.path, '-', '-'),
    (kinds.path, 'off', 'off'),
    (kinds.path, '/var/log/geproxy/access log', '/var/log/geproxy/access log'),
    (kinds.log_path, '/var/log/geproxy/access.log', '/var/log/geproxy/access.log'),
    (kinds.log_path, 'off', 'off'),
    (kinds.log_path, 'syslog:local3', 'syslog:local3'),
    (kinds.pseudonym, 'auto', 'auto'),
    (kinds.pseudonym, 'Gate-1.example_org', 'Gate-1.example_org'),
    (kinds.pseudonym, 'a' * 63, 'a' * 63),
    (kinds.choice('a', 'b'), 'b', 'b'),
    (kinds.switch('on', 'off'), 'on', True),
    (kinds.switch('on', 'off'), 'off', False),
])
def test_a_value_of_its_kind_is_understood(kind, text, value):
    found = kind(text)
    assert (found.ranges if isinstance(found, address.Ports) else found) == value
    assert type(found) is type(value) or isinstance(found, address.Ports)


@pytest.mark.parametrize('kind, text, what', [
    (kinds.seconds, '', 'is no duration'),
    (kinds.seconds, '0', 'is no duration'),
    (kinds.seconds, '-1', 'is no duration'),
    (kinds.seconds, '1x', 'is no duration'),
    (kinds.seconds, '1e3', 'is no duration'),
    (kinds.seconds, '1_0', 'is no duration'),
    (kinds.seconds, 'inf', 'is no duration'),
    (kinds.seconds, '.5', 'is no duration'),
    (kinds.seconds, '1 m s', 'is no duration'),
    (kinds.seconds, '3651d', 'is no duration'),
    (kinds.seconds, '999999999d', 'is no duration'),
    (kinds.octets, '', 'is no size'),
    (kinds.octets, '1023', 'is no size from 1k to 1g'),
    (kinds.octets, '2g', 'is no size from 1k to 1g'),
    (kinds.octets, '64x', 'is no size'),
    (kinds.octets, '0x400', 'is no size'),
    (kinds.octets, '-64k', 'is no size'),
    (kinds.many_octets, '2000t', 'is no size from 1k to 1024t'),
    (kinds.per_second, '0', 'is no number per second'),
    (kinds.per_second, '0.0001', 'is no number per second'),
    (kinds.or_off(kinds.octets), 'on', 'as in 64k, or off'),
    (kinds.count, '', 'is no whole number'),
    (kinds.count, '-1', 'is no whole number'),
    (kinds.count, '1.0', 'is no whole number'),
    (kinds.count, '1_0', 'is no whole number'),
    (kinds.count, 'many', 'is no whole number'),
    (kinds.ipv6_prefix, '0', '1 to 128'),
    (kinds.ipv6_prefix, '129', '1 to 128'),
    (kinds.count_or_auto, '0', 'neither auto nor a whole number from 1'),
    (kinds.count_or_auto, 'Auto', 'neither auto nor a whole number from 1'),
    (kinds.ports, '0', "'0' is no port"),
    (kinds.ports, '65536', "'65536' is no port"),
    (kinds.ports, '443-80', "'443-80' is no port"),
    (kinds.ports, '80-', "'80-' is no port"),
    (kinds.ports, '-80', "'-80' is no port"),
    (kinds.ports, 'http', "'http' is no port"),
    (kinds.networks, '10.0.0.1/8', 'did you mean 10.0.0.0/8?'),
    (kinds.networks, 'localhost', 'it takes addresses'),
    (kinds.networks, 'privat', 'did you mean private?'),
    (kinds.networks, 'public', 'it takes addresses'),
    (kinds.log_path, 'syslog:', 'is no syslog'),
    (kinds.log_path, 'syslog:locla3', 'did you mean local3'),
    (kinds.log_path, 'syslog:local8', 'is no syslog'),
    (kinds.log_path, 'syslog:relative/path', 'is no syslog'),
    (kinds.log_path, 'syslog://', 'is no syslog'),
    (kinds.log_path, 'syslog://a:0', 'is no syslog'),
    (kinds.log_path, 'syslog://a:65536', 'is no syslog'),
    (kinds.log_path, 'syslog://2001:db8::1', 'is no syslog'),
    (kinds.log_path, '~/log', 'without ~'),
    (kinds.listeners, '', 'at least one of'),
    (kinds.listeners, '65536', 'nothing to listen on'),
    (kinds.listeners, '9000 *:9000', 'port 9000 is there twice'),
    (kinds.admin_listeners, '9001', 'nothing to listen on here'),
    (kinds.listeners, '*', 'nothing to listen on'),
    (kinds.listeners, '*:', 'nothing to listen on'),
    (kinds.listeners, '*:65536', 'nothing to listen on'),
    (kinds.listeners, '*:http', 'nothing to listen on'),
    (kinds.listeners, '::1:9000', 'in brackets'),
    (kinds.listeners, 'http://127.0.0.1:9000', "'http://127.0.0.1:9000' is nothing to listen on"),
    (kinds.listeners, 'fd:', 'nothing to listen on'),
    (kinds.listeners, 'systemd systemd', 'twice'),
    (kinds.path, '', 'it takes a path'),
    (kinds.path, '~/log', 'without ~'),
    (kinds.path, 'stdout', '- for the terminal'),
    (kinds.listeners, '*:1 *:2 *:1', 'port 1 is there twice'),
    (kinds.pseudonym, '', 'no name for Via'),
    (kinds.pseudonym, '1a', 'no name for Via'),
    (kinds.pseudonym, 'a b', 'no name for Via'),
    (kinds.pseudonym, 'a' * 64, 'no name for Via'),
    (kinds.choice('squid', 'json'), 'squit', "none of squid, json (did you mean squid?)"),
    (kinds.choice('squid', 'json'), '', 'none of squid, json'),
    (kinds.switch('on', 'off'), 'yes', 'none of on, off'),
    (kinds.switch('on', 'off'), 'On', 'none of on, off'),
])
def test_a_value_of_another_kind_is_refused_with_what_it_takes(kind, text, what):
    with pytest.raises(ValueError) as raised:
        kind(text)
    assert what in str(raised.value)


@pytest.mark.parametrize('text, inside, outside', [
    ('10.0.0.0/8 192.0.2.1', '10.1.2.3', '192.0.2.2'),
    ('loopback', '::1', '10.0.0.1'),
    ('loopback private', 'fd00::1', '8.8.8.8'),
    ('any', '8.8.8.8', None),
    ('metadata', '169.254.169.254', '169.254.0.1'),
])
def test_networks_are_addresses_prefixes_and_presets(text, inside, outside):
    found = kinds.networks(text)
    assert address.within(address.parse_ip(inside), found).text in text.split()
    assert outside is None or address.within(address.parse_ip(outside), found) is None
    assert kinds.networks('') == ()


@pytest.mark.parametrize('text, found', [
    ('*:9000', [('', 9000, None)]),
    ('127.0.0.1:9000', [('127.0.0.1', 9000, None)]),
    ('localhost:0', [('localhost', 0, None)]),
    ('[::1]:9000', [('::1', 9000, None)]),
    ('[::]:9000 0.0.0.0:9000', [('::', 9000, None), ('0.0.0.0', 9000, None)]),
    ('fd:0', [('', 0, 0)]),
    ('systemd', [('', 0, 'systemd')]),
    ('fd:3 *:9000', [('', 0, 3), ('', 9000, None)]),
    (':9000', [('', 9000, None)]),
])
def test_listeners_are_hosts_and_ports_or_descriptors(text, found):
    assert [tuple(each) for each in kinds.listeners(text)] == found

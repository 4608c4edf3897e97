"""What the value of an option may be: what each kind takes, and what it says of the rest."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.net import address
from geproxy.settings import option_types


@pytest.mark.parametrize('kind, text, value', [
    (option_types.seconds, '20', 20.0),
    (option_types.seconds, '0.5', 0.5),
    (option_types.seconds, '500ms', 0.5),
    (option_types.seconds, '1 s', 1.0),
    (option_types.seconds, '2m', 120.0),
    (option_types.seconds, '2min', 120.0),
    (option_types.seconds, '1.5h', 5400.0),
    (option_types.seconds, '3650d', 315360000.0),
    (option_types.octets, '1k', 1024),
    (option_types.octets, '65536', 65536),
    (option_types.octets, '64K', 65536),
    (option_types.octets, '64 kb', 65536),
    (option_types.octets, '1m', 1048576),
    (option_types.octets, '1g', 1 << 30),
    (option_types.many_octets, '2t', 2 << 40),
    (option_types.per_second, '50', 50.0),
    (option_types.per_second, '0.5', 0.5),
    (option_types.or_off(option_types.octets), 'off', None),
    (option_types.or_off(option_types.octets), '1m', 1 << 20),
    (option_types.count, '0', 0),
    (option_types.count, '007', 7),
    (option_types.count, '999999999', 999999999),
    (option_types.ipv6_prefix, '1', 1),
    (option_types.ipv6_prefix, '128', 128),
    (option_types.count_or_auto, 'auto', None),
    (option_types.count_or_auto, '1', 1),
    (option_types.ports, '', ()),
    (option_types.ports, '80', ((80, 80),)),
    (option_types.ports, '80,443, 8080', ((80, 80), (443, 443), (8080, 8080))),
    (option_types.ports, '80 443\t1024-65535', ((80, 80), (443, 443), (1024, 65535))),
    (option_types.ports, 'any', ((1, 65535),)),
    (option_types.path, '-', '-'),
    (option_types.path, 'off', 'off'),
    (option_types.path, '/var/log/geproxy/access log', '/var/log/geproxy/access log'),
    (option_types.log_path, '/var/log/geproxy/access.log', '/var/log/geproxy/access.log'),
    (option_types.log_path, 'off', 'off'),
    (option_types.log_path, 'syslog:local3', 'syslog:local3'),
    (option_types.pseudonym, 'auto', 'auto'),
    (option_types.pseudonym, 'Gate-1.example_org', 'Gate-1.example_org'),
    (option_types.pseudonym, 'a' * 63, 'a' * 63),
    (option_types.choice('a', 'b'), 'b', 'b'),
    (option_types.switch('on', 'off'), 'on', True),
    (option_types.switch('on', 'off'), 'off', False),
])
def test_a_value_of_its_kind_is_understood(kind, text, value):
    found = kind(text)
    assert (found.ranges if isinstance(found, address.Ports) else found) == value
    assert type(found) is type(value) or isinstance(found, address.Ports)


@pytest.mark.parametrize('kind, text, what', [
    (option_types.seconds, '', 'is no duration'),
    (option_types.seconds, '0', 'is no duration'),
    (option_types.seconds, '-1', 'is no duration'),
    (option_types.seconds, '1x', 'is no duration'),
    (option_types.seconds, '1e3', 'is no duration'),
    (option_types.seconds, '1_0', 'is no duration'),
    (option_types.seconds, 'inf', 'is no duration'),
    (option_types.seconds, '.5', 'is no duration'),
    (option_types.seconds, '1 m s', 'is no duration'),
    (option_types.seconds, '3651d', 'is no duration'),
    (option_types.seconds, '999999999d', 'is no duration'),
    (option_types.octets, '', 'is no size'),
    (option_types.octets, '1023', 'is no size from 1k to 1g'),
    (option_types.octets, '2g', 'is no size from 1k to 1g'),
    (option_types.octets, '64x', 'is no size'),
    (option_types.octets, '0x400', 'is no size'),
    (option_types.octets, '-64k', 'is no size'),
    (option_types.many_octets, '2000t', 'is no size from 1k to 1024t'),
    (option_types.per_second, '0', 'is no number per second'),
    (option_types.per_second, '0.0001', 'is no number per second'),
    (option_types.or_off(option_types.octets), 'on', 'as in 64k, or off'),
    (option_types.count, '', 'is no whole number'),
    (option_types.count, '-1', 'is no whole number'),
    (option_types.count, '1.0', 'is no whole number'),
    (option_types.count, '1_0', 'is no whole number'),
    (option_types.count, 'many', 'is no whole number'),
    (option_types.ipv6_prefix, '0', '1 to 128'),
    (option_types.ipv6_prefix, '129', '1 to 128'),
    (option_types.count_or_auto, '0', 'neither auto nor a whole number from 1'),
    (option_types.count_or_auto, 'Auto', 'neither auto nor a whole number from 1'),
    (option_types.ports, '0', "'0' is no port"),
    (option_types.ports, '65536', "'65536' is no port"),
    (option_types.ports, '443-80', "'443-80' is no port"),
    (option_types.ports, '80-', "'80-' is no port"),
    (option_types.ports, '-80', "'-80' is no port"),
    (option_types.ports, 'http', "'http' is no port"),
    (option_types.networks, '10.0.0.1/8', 'did you mean 10.0.0.0/8?'),
    (option_types.networks, 'localhost', 'it takes addresses'),
    (option_types.networks, 'privat', 'did you mean private?'),
    (option_types.networks, 'public', 'it takes addresses'),
    (option_types.log_path, 'syslog:', 'invalid syslog address'),
    (option_types.log_path, 'syslog:locla3', 'did you mean local3'),
    (option_types.log_path, 'syslog:local8', 'invalid syslog address'),
    (option_types.log_path, 'syslog:relative/path', 'invalid syslog address'),
    (option_types.log_path, 'syslog://', 'invalid syslog address'),
    (option_types.log_path, 'syslog://a:0', 'invalid syslog address'),
    (option_types.log_path, 'syslog://a:65536', 'invalid syslog address'),
    (option_types.log_path, 'syslog://2001:db8::1', 'invalid syslog address'),
    (option_types.log_path, '~/log', 'without ~'),
    (option_types.listeners, '', 'at least one of'),
    (option_types.listeners, '65536', 'nothing to listen on'),
    (option_types.listeners, '9000 *:9000', 'port 9000 is there twice'),
    (option_types.admin_listeners, '9001', 'nothing to listen on here'),
    (option_types.listeners, '*', 'nothing to listen on'),
    (option_types.listeners, '*:', 'nothing to listen on'),
    (option_types.listeners, '*:65536', 'nothing to listen on'),
    (option_types.listeners, '*:http', 'nothing to listen on'),
    (option_types.listeners, '::1:9000', 'in brackets'),
    (option_types.listeners, 'http://127.0.0.1:9000', "'http://127.0.0.1:9000' is nothing to listen on"),
    (option_types.listeners, 'fd:', 'nothing to listen on'),
    (option_types.listeners, 'systemd systemd', 'twice'),
    (option_types.path, '', 'it takes a path'),
    (option_types.path, '~/log', 'without ~'),
    (option_types.path, 'stdout', '- for the terminal'),
    (option_types.listeners, '*:1 *:2 *:1', 'port 1 is there twice'),
    (option_types.pseudonym, '', 'no name for Via'),
    (option_types.pseudonym, '1a', 'no name for Via'),
    (option_types.pseudonym, 'a b', 'no name for Via'),
    (option_types.pseudonym, 'a' * 64, 'no name for Via'),
    (option_types.choice('squid', 'json'), 'squit', "none of squid, json (did you mean squid?)"),
    (option_types.choice('squid', 'json'), '', 'none of squid, json'),
    (option_types.switch('on', 'off'), 'yes', 'none of on, off'),
    (option_types.switch('on', 'off'), 'On', 'none of on, off'),
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
    found = option_types.networks(text)
    assert address.within(address.parse_ip(inside), found).text in text.split()
    assert outside is None or address.within(address.parse_ip(outside), found) is None
    assert option_types.networks('') == ()


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
    assert [tuple(each) for each in option_types.listeners(text)] == found

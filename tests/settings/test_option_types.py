"""What each type of option takes, and what it tells about other values."""
from __future__ import absolute_import, division, print_function

import hashlib

import pytest

from geproxy.net import address
from geproxy.settings import option_types


@pytest.mark.parametrize('read, text, value', [
    (option_types.duration, '20', 20.0),
    (option_types.duration, '0.5', 0.5),
    (option_types.duration, '500ms', 0.5),
    (option_types.duration, '1 s', 1.0),
    (option_types.duration, '2m', 120.0),
    (option_types.duration, '2min', 120.0),
    (option_types.duration, '1.5h', 5400.0),
    (option_types.duration, '3650d', 315360000.0),
    (option_types.size, '1k', 1024),
    (option_types.size, '65536', 65536),
    (option_types.size, '64K', 65536),
    (option_types.size, '64 kb', 65536),
    (option_types.size, '1m', 1048576),
    (option_types.size, '1g', 1 << 30),
    (option_types.large_size, '2t', 2 << 40),
    (option_types.per_second, '50', 50.0),
    (option_types.per_second, '0.5', 0.5),
    (option_types.or_off(option_types.size), 'off', None),
    (option_types.or_off(option_types.size), '1m', 1 << 20),
    (option_types.whole_number, '0', 0),
    (option_types.whole_number, '007', 7),
    (option_types.whole_number, '999999999', 999999999),
    (option_types.prefix_length, '1', 1),
    (option_types.prefix_length, '128', 128),
    (option_types.whole_number_or_auto, 'auto', None),
    (option_types.whole_number_or_auto, '1', 1),
    (option_types.local_addresses, '', ()),
    (option_types.local_addresses, '192.0.2.7', ('192.0.2.7',)),
    (option_types.local_addresses, '2001:DB8:0::7, 192.0.2.7', ('2001:db8::7', '192.0.2.7')),
    (option_types.local_addresses, '0.0.0.0 ::', ('0.0.0.0', '::')),
    (option_types.ports, '', ()),
    (option_types.ports, '80', ((80, 80),)),
    (option_types.ports, '80,443, 8080', ((80, 80), (443, 443), (8080, 8080))),
    (option_types.ports, '80 443\t1024-65535', ((80, 80), (443, 443), (1024, 65535))),
    (option_types.ports, 'any', ((1, 65535),)),
    (option_types.output_path, '-', '-'),
    (option_types.output_path, 'off', 'off'),
    (option_types.output_path, '/var/log/geproxy/access log', '/var/log/geproxy/access log'),
    (option_types.log_path, '/var/log/geproxy/access.log', '/var/log/geproxy/access.log'),
    (option_types.log_path, 'off', 'off'),
    (option_types.log_path, 'syslog:local3', 'syslog:local3'),
    (option_types.pseudonym, 'auto', 'auto'),
    (option_types.pseudonym, 'Gate-1.example_org', 'Gate-1.example_org'),
    (option_types.pseudonym, 'a' * 63, 'a' * 63),
    (option_types.choice('a', 'b'), 'b', 'b'),
    (option_types.boolean('on', 'off'), 'on', True),
    (option_types.boolean('on', 'off'), 'off', False),
])
def test_a_value_of_its_type_is_understood(read, text, value):
    found = read(text)
    assert (found.ranges if isinstance(found, address.Ports) else found) == value
    assert type(found) is type(value) or isinstance(found, address.Ports)


@pytest.mark.parametrize('read, text, what', [
    (option_types.duration, '', 'invalid duration '),
    (option_types.duration, '0', 'invalid duration '),
    (option_types.duration, '-1', 'invalid duration '),
    (option_types.duration, '1x', 'invalid duration '),
    (option_types.duration, '1e3', 'invalid duration '),
    (option_types.duration, '1_0', 'invalid duration '),
    (option_types.duration, 'inf', 'invalid duration '),
    (option_types.duration, '.5', 'invalid duration '),
    (option_types.duration, '1 m s', 'invalid duration '),
    (option_types.duration, '3651d', 'expected at most 3650d'),
    (option_types.duration, '999999999d', 'invalid duration '),
    (option_types.size, '', 'invalid size '),
    (option_types.size, '1023', 'expected octets from 1k to 1g'),
    (option_types.size, '2g', 'expected octets from 1k to 1g'),
    (option_types.size, '64x', 'invalid size '),
    (option_types.size, '0x400', 'invalid size '),
    (option_types.size, '-64k', 'invalid size '),
    (option_types.large_size, '2000t', 'expected octets from 1k to 1024t'),
    (option_types.per_second, '0', 'expected a number per second'),
    (option_types.per_second, '0.0001', 'expected a number per second'),
    (option_types.or_off(option_types.size), 'on', '(64k), or off'),
    (option_types.whole_number, '', 'expected a whole number'),
    (option_types.whole_number, '-1', 'expected a whole number'),
    (option_types.whole_number, '1.0', 'expected a whole number'),
    (option_types.whole_number, '1_0', 'expected a whole number'),
    (option_types.whole_number, 'many', 'expected a whole number'),
    (option_types.prefix_length, '0', '1 to 128'),
    (option_types.prefix_length, '129', '1 to 128'),
    (option_types.whole_number_or_auto, '0', 'expected auto, or a whole number from 1'),
    (option_types.whole_number_or_auto, 'Auto', 'expected auto, or a whole number from 1'),
    (option_types.ports, '0', "invalid port '0': expected 1 to 65535"),
    (option_types.ports, '65536', "invalid port '65536': expected 1 to 65535"),
    (option_types.ports, '443-80', "invalid port '443-80': expected 1 to 65535"),
    (option_types.ports, '80-', "invalid port '80-': expected 1 to 65535"),
    (option_types.ports, '-80', "invalid port '-80': expected 1 to 65535"),
    (option_types.ports, 'http', "invalid port 'http': expected 1 to 65535"),
    (option_types.networks, '10.0.0.1/8', 'did you mean 10.0.0.0/8?'),
    (option_types.networks, 'localhost', 'expected: addresses'),
    (option_types.networks, 'privat', 'did you mean private?'),
    (option_types.networks, 'public', 'expected: addresses'),
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
    (option_types.listeners, '65536', 'invalid listener '),
    (option_types.listeners, '9000 *:9000', 'port 9000 is listed twice'),
    (option_types.admin_listeners, '9001', 'invalid admin listener '),
    (option_types.listeners, '*', 'invalid listener '),
    (option_types.listeners, '*:', 'invalid listener '),
    (option_types.listeners, '*:9443 TLS', 'The word tls may follow. A port is a number up to 65535 (did you mean tls?)'),
    (option_types.listeners, '*:9443 ssl', '(did you mean tls?)'),
    (option_types.listeners, '*:65536', 'invalid listener '),
    (option_types.listeners, '*:http', 'invalid listener '),
    (option_types.listeners, '::1:9000', 'expected brackets'),
    (option_types.listeners, 'http://127.0.0.1:9000', "invalid listener 'http://127.0.0.1:9000'"),
    (option_types.listeners, 'fd:', 'invalid listener '),
    (option_types.listeners, 'systemd systemd', 'twice'),
    (option_types.listeners, 'tls', 'tls has to follow a listener'),
    (option_types.listeners, 'tls *:9443', 'tls has to follow a listener'),
    (option_types.listeners, '*:9443 tls tls', 'tls has to follow a listener'),
    (option_types.listeners, '*:9443 *:9443 tls', 'port 9443 is listed twice'),
    (option_types.listeners, '*:9443 TLS', 'invalid listener '),
    (option_types.admin_listeners, '127.0.0.1:9001 tls', 'invalid admin listener '),
    (option_types.output_path, '', 'expected a path'),
    (option_types.output_path, '~/log', 'without ~'),
    (option_types.output_path, 'stdout', '- for the terminal'),
    (option_types.listeners, '*:1 *:2 *:1', 'port 1 is listed twice'),
    (option_types.pseudonym, '', 'invalid name '),
    (option_types.pseudonym, '1a', 'invalid name '),
    (option_types.pseudonym, 'a b', 'invalid name '),
    (option_types.pseudonym, 'a' * 64, 'invalid name '),
    (option_types.choice('squid', 'json'), 'squit', "expected one of squid, json (did you mean squid?)"),
    (option_types.choice('squid', 'json'), '', 'expected one of squid, json'),
    (option_types.boolean('on', 'off'), 'yes', 'expected one of on, off'),
    (option_types.boolean('on', 'off'), 'On', 'expected one of on, off'),
])
def test_a_value_of_another_type_is_refused_with_the_expected_form(read, text, what):
    with pytest.raises(ValueError) as raised:
        read(text)
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
    ('*:9000', [('', 9000, None, False)]),
    ('127.0.0.1:9000', [('127.0.0.1', 9000, None, False)]),
    ('localhost:0', [('localhost', 0, None, False)]),
    ('[::1]:9000', [('::1', 9000, None, False)]),
    ('[::]:9000 0.0.0.0:9000', [('::', 9000, None, False), ('0.0.0.0', 9000, None, False)]),
    ('fd:0', [('', 0, 0, False)]),
    ('systemd', [('', 0, 'systemd', False)]),
    ('fd:3 *:9000', [('', 0, 3, False), ('', 9000, None, False)]),
    (':9000', [('', 9000, None, False)]),
    ('*:9443 tls', [('', 9443, None, True)]),
    ('9000 9443 tls [::1]:1', [('', 9000, None, False), ('', 9443, None, True), ('::1', 1, None, False)]),
    ('fd:3 tls systemd tls', [('', 0, 3, True), ('', 0, 'systemd', True)]),
])
def test_listeners_are_hosts_and_ports_or_descriptors(text, found):
    assert [tuple(each) for each in option_types.listeners(text)] == found


def test_the_automatic_name_of_a_proxy_depends_on_tls_only_where_it_is_used(monkeypatch):
    """Old processes know no such listeners, and both are up during a rolling restart."""
    monkeypatch.setattr(option_types.socket, 'gethostname', lambda: 'here')
    names = [option_types.automatic_pseudonym(option_types.listeners(text)) for text in ('*:9000', '*:9000 tls')]
    seed = "here (Listener(host='', port=9000, fd=None),)"
    assert names[0] == 'geproxy-' + hashlib.sha1(seed.encode('ascii')).hexdigest()[:6] != names[1]

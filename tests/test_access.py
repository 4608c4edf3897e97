"""Who may go where: the defaults, what the options change, and the names that refusals give."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import config, errors
from geproxy.access import Access, allows_port
from geproxy.address import parse_ip

OWN = (parse_ip('192.168.0.1'), 9000)


def access(*lines):
    """An Access of the defaults and these lines of [access]; the proxy itself is at 192.168.0.1 port 9000."""
    return Access(config.load('test.ini', ['[access]'] + list(lines)).access, lambda ip, port: (ip, port) == OWN)


@pytest.mark.parametrize('line, client, allowed', [
    ('', '127.0.0.1', True),
    ('', '::1', True),
    ('', '::ffff:127.0.0.1', True),
    ('', '10.1.2.3', True),
    ('', '100.64.0.1', True),
    ('', 'fd00::1', True),
    ('', '8.8.8.8', False),
    ('', '::ffff:8.8.8.8', False),
    ('', '2001:4860::8888', False),
    ('', 'fe80::1', False),
    ('', '64:ff9b::10.0.0.1', False),
    ('', '2002:a00:1::1', False),
    ('clients = any', '8.8.8.8', True),
    ('clients = any', '2001:4860::8888', True),
    ('clients = 8.8.8.0/24', '8.8.8.8', True),
    ('clients = 8.8.8.0/24', '127.0.0.1', False),
    ('clients =', '127.0.0.1', False),
])
def test_only_a_client_of_the_house_may_use_the_proxy(line, client, allowed):
    policy = access(line)
    if allowed:
        assert policy.check_client(client) is None
    else:
        with pytest.raises(errors.Denied) as raised:
            policy.check_client(client)
        assert str(raised.value) == 'client %s is not among [access] clients' % client


@pytest.mark.parametrize('line, method, port, allowed', [
    ('', b'CONNECT', 443, True),
    ('', b'CONNECT', 563, True),
    ('', b'CONNECT', 8443, True),
    ('', b'CONNECT', 80, True),
    ('', b'CONNECT', 25, False),
    ('', b'CONNECT', 22, False),
    ('', b'CONNECT', 8080, False),
    ('', b'GET', 80, True),
    ('', b'GET', 443, True),
    ('', b'GET', 1024, True),
    ('', b'GET', 65535, True),
    ('', b'GET', 25, False),
    ('', b'GET', 1023, False),
    ('', b'connect', 22, False),
    ('connect_ports = any', b'CONNECT', 1, True),
    ('connect_ports = any', b'CONNECT', 65535, True),
    ('connect_ports = any', b'GET', 25, False),
    ('connect_ports = 22', b'CONNECT', 443, False),
    ('http_ports = 25', b'GET', 25, True),
    ('http_ports = 25', b'GET', 80, False),
    ('http_ports =', b'GET', 80, False),
])
def test_a_method_reaches_the_ports_of_its_option(line, method, port, allowed):
    policy = access(line)
    if allowed:
        assert policy.check_target(method, port) is None
    else:
        with pytest.raises(errors.Denied) as raised:
            policy.check_target(method, port)
        option = 'connect_ports' if method == b'CONNECT' else 'http_ports'
        assert str(raised.value).startswith('port %d is not among [access] %s (' % (port, option))


@pytest.mark.parametrize('port, allowed', [(79, False), (80, True), (81, False), (99, False), (100, True), (200, True),
                                           (201, False)])
def test_a_range_of_ports_includes_both_its_ends(port, allowed):
    assert allows_port(config.ports('80 100-200'), port) is allowed


HERE, THERE = '127.0.0.1', '10.0.0.5'

ADDRESSES = [
    # (line, client, address, port, why not; None if it may)
    ('', THERE, '8.8.8.8', 80, None),
    ('', THERE, '2001:4860::8888', 80, None),
    ('', THERE, '10.0.0.1', 80, None),
    ('', THERE, 'fd00::1', 80, None),
    ('', THERE, '127.0.0.1', 80, '127.0.0.1 is a loopback address'),
    ('', THERE, '127.255.0.1', 80, '127.255.0.1 is a loopback address'),
    ('', THERE, '::1', 80, '::1 is a loopback address'),
    ('', THERE, '0.0.0.0', 80, '0.0.0.0 is a unspecified address'),
    ('', THERE, '::', 80, ':: is a unspecified address'),
    ('', THERE, '169.254.169.254', 80, '169.254.169.254 is a metadata address'),
    ('', THERE, 'fd00:ec2::254', 80, 'fd00:ec2::254 is a metadata address'),
    ('', THERE, '169.254.1.1', 80, '169.254.1.1 is a link-local address'),
    ('', THERE, 'fe80::1%eth0', 80, 'fe80::1 is a link-local address'),
    ('', THERE, '224.0.0.1', 80, '224.0.0.1 is a multicast address'),
    ('', THERE, '255.255.255.255', 80, '255.255.255.255 is a reserved address'),
    ('', THERE, '192.0.2.1', 80, '192.0.2.1 is a reserved address'),
    # wrapped
    ('', THERE, '::ffff:127.0.0.1', 80, '127.0.0.1 is a loopback address'),
    ('', THERE, '::ffff:8.8.8.8', 80, None),
    ('', THERE, '::ffff:0:127.0.0.1', 80, '127.0.0.1 is a loopback address, by way of ::ffff:0:7f00:1'),
    ('', THERE, '::127.0.0.1', 80, '::127.0.0.1 is a reserved address'),
    ('', THERE, '64:ff9b::127.0.0.1', 80, '127.0.0.1 is a loopback address, by way of 64:ff9b::7f00:1'),
    ('', THERE, '64:ff9b::169.254.169.254', 80, '169.254.169.254 is a metadata address, by way of 64:ff9b::a9fe:a9fe'),
    ('', THERE, '64:ff9b::8.8.8.8', 80, None),
    ('', THERE, '2002:7f00:1::', 80, '127.0.0.1 is a loopback address, by way of 2002:7f00:1::'),
    ('', THERE, '2001:0:7f00:1::ffff:ffff', 80, '127.0.0.1 is a loopback address, by way of 2001:0:7f00:1::ffff:ffff'),
    ('', THERE, '2001:0:808:808::80ff:fffe', 80,
     '127.0.0.1 is a loopback address, by way of 2001:0:808:808::80ff:fffe'),
    # a client on this very host
    ('', HERE, '127.0.0.1', 80, None),
    ('', HERE, '127.9.9.9', 80, None),
    ('', HERE, '::1', 80, None),
    ('', '::1', '127.0.0.1', 80, None),
    ('', '::ffff:127.0.0.1', '::ffff:127.0.0.1', 80, None),
    ('', '64:ff9b::127.0.0.1', '127.0.0.1', 80, '127.0.0.1 is a loopback address'),
    ('', HERE, '64:ff9b::127.0.0.1', 80, '127.0.0.1 is a loopback address, by way of 64:ff9b::7f00:1'),
    ('', HERE, '0.0.0.0', 80, '0.0.0.0 is a unspecified address'),
    ('', HERE, '169.254.169.254', 80, '169.254.169.254 is a metadata address'),
    ('loopback = deny', HERE, '127.0.0.1', 80, '127.0.0.1 is a loopback address'),
    # private
    ('private = deny', THERE, '10.0.0.1', 80, '10.0.0.1 is a private address'),
    ('private = deny', HERE, '192.168.1.1', 80, '192.168.1.1 is a private address'),
    ('private = deny', THERE, '2002:a00:1::', 80, '10.0.0.1 is a private address, by way of 2002:a00:1::'),
    ('private = deny', THERE, '8.8.8.8', 80, None),
    # allowed and denied by name
    ('allow_addresses = loopback', THERE, '127.0.0.1', 80, None),
    ('allow_addresses = 127.0.0.2', THERE, '127.0.0.1', 80, '127.0.0.1 is a loopback address'),
    ('allow_addresses = 169.254.169.254', THERE, '::ffff:169.254.169.254', 80, None),
    ('allow_addresses = any', THERE, '255.255.255.255', 80, None),
    ('allow_addresses = any', THERE, '64:ff9b::127.0.0.1', 80, None),
    ('deny_addresses = 8.8.8.0/24', THERE, '8.8.8.8', 80, '8.8.8.8 is in [access] deny_addresses (8.8.8.0/24)'),
    ('deny_addresses = 8.8.8.0/24', THERE, '::ffff:8.8.8.8', 80, '8.8.8.8 is in [access] deny_addresses (8.8.8.0/24)'),
    ('deny_addresses = loopback', HERE, '127.0.0.1', 80, '127.0.0.1 is in [access] deny_addresses (loopback)'),
    ('deny_addresses = 8.8.8.0/24', THERE, '8.8.9.8', 80, None),
    # the proxy itself
    ('', THERE, '192.168.0.1', 9000, '192.168.0.1 port 9000 is this proxy itself'),
    ('', THERE, '::ffff:192.168.0.1', 9000, '192.168.0.1 port 9000 is this proxy itself'),
    ('allow_addresses = any', HERE, '192.168.0.1', 9000, '192.168.0.1 port 9000 is this proxy itself'),
    ('', THERE, '192.168.0.1', 9001, None),
]


@pytest.mark.parametrize('line, client, address, port, why', ADDRESSES)
def test_an_address_is_judged_as_it_is_dialled(line, client, address, port, why):
    policy = access(line)
    if why is None:
        assert policy.check_address(client, address, port) is None
    else:
        with pytest.raises(errors.AddressDenied) as raised:
            policy.check_address(client, address, port)
        assert str(raised.value).replace(' an ', ' a ') == why
        assert isinstance(raised.value, errors.Ourselves) == ('this proxy itself' in why)


def test_a_denied_address_is_denied_inside_another_too():
    policy = access('deny_addresses = 8.8.8.8')
    for address in ('64:ff9b::8.8.8.8', '2002:808:808::', '::ffff:0:8.8.8.8'):
        with pytest.raises(errors.AddressDenied):
            policy.check_address(THERE, address, 80)


def test_denied_goes_before_allowed():
    policy = access('allow_addresses = loopback', 'deny_addresses = 127.0.0.1')
    assert policy.check_address(THERE, '127.0.0.2', 80) is None
    with pytest.raises(errors.AddressDenied):
        policy.check_address(THERE, '127.0.0.1', 80)

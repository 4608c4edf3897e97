"""Access: the defaults, what the options change, and what refusals say."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.net.address import allows_port, parse_ip, show_ip, unmap
from geproxy.policy.access import PERIOD, REMEMBERED, Access
from geproxy.policy.rules import Question
from geproxy.settings import loading, option_types

OWN = (parse_ip('192.168.0.1'), 9000)
LOCAL = [parse_ip(text) for text in ('192.168.0.1', '198.41.0.4', '2001:4860::4', '169.254.7.7', 'fe80::7', '192.0.2.7')]        # addresses of this host


def access(*lines):
    """Return an Access with these lines in [access]; the proxy itself listens at 192.168.0.1 port 9000."""
    settings = loading.load('test.ini', ['[access]'] + list(lines)).access
    return Access(settings, lambda ip, port: (ip, port) == OWN, LOCAL.__contains__)


def question(client='10.0.0.5', method=b'GET', port=80, host=b'a.example', user=None, groups=()):
    """Return a Question; by default a private client asks for a public host."""
    return Question(unmap(parse_ip(client)), user, frozenset(groups), method, host, port)


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
def test_only_clients_in_the_option_may_use_the_proxy(line, client, allowed):
    policy = access(line)
    if allowed:
        assert policy.check_client(unmap(parse_ip(client))) is None
    else:
        with pytest.raises(errors.Denied) as raised:
            policy.check_client(unmap(parse_ip(client)))
        assert str(raised.value) == 'client %s is not among [access] clients' % show_ip(unmap(parse_ip(client)))
        assert 'add the client to [access] clients' in raised.value.hint


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
        assert policy.check_target(question(method=method, port=port), 0).allowed
    else:
        with pytest.raises(errors.Denied) as raised:
            policy.check_target(question(method=method, port=port), 0)
        option = 'connect_ports' if method == b'CONNECT' else 'http_ports'
        assert str(raised.value).startswith('port %d is not among [access] %s (' % (port, option))
        assert 'add the port to [access] %s,' % option in raised.value.hint


@pytest.mark.parametrize('port, allowed', [(79, False), (80, True), (81, False), (99, False), (100, True), (200, True),
                                           (201, False)])
def test_a_range_of_ports_includes_both_its_ends(port, allowed):
    assert allows_port(option_types.ports('80 100-200'), port) is allowed


HERE, THERE = '127.0.0.1', '10.0.0.5'

ADDRESSES = [
    # (line, client, address, port, why it is refused, or None)
    ('', THERE, '8.8.8.8', 80, None),
    ('', THERE, '2001:4860::8888', 80, None),
    ('', THERE, '10.0.0.1', 80, None),
    ('', THERE, 'fd00::1', 80, None),
    ('', THERE, '127.0.0.1', 80, '127.0.0.1 is a loopback address'),
    ('', THERE, '127.255.0.1', 80, '127.255.0.1 is a loopback address'),
    ('', THERE, '::1', 80, '::1 is a loopback address'),
    ('', THERE, '0.0.0.0', 80, '0.0.0.0 is an unspecified address'),
    ('', THERE, '::', 80, ':: is an unspecified address'),
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
    ('', THERE, '::ffff:0:127.0.0.1', 80, '127.0.0.1 is a loopback address, reached through ::ffff:0:7f00:1'),
    ('', THERE, '::127.0.0.1', 80, '::127.0.0.1 is a reserved address'),
    ('', THERE, '64:ff9b::127.0.0.1', 80, '127.0.0.1 is a loopback address, reached through 64:ff9b::7f00:1'),
    ('', THERE, '64:ff9b::169.254.169.254', 80, '169.254.169.254 is a metadata address, reached through 64:ff9b::a9fe:a9fe'),
    ('', THERE, '64:ff9b::8.8.8.8', 80, None),
    ('', THERE, '2002:7f00:1::', 80, '127.0.0.1 is a loopback address, reached through 2002:7f00:1::'),
    ('', THERE, '2001:0:7f00:1::ffff:ffff', 80, '127.0.0.1 is a loopback address, reached through 2001:0:7f00:1::ffff:ffff'),
    ('', THERE, '2001:0:808:808::80ff:fffe', 80,
     '127.0.0.1 is a loopback address, reached through 2001:0:808:808::80ff:fffe'),
    # a client on this host
    ('', HERE, '127.0.0.1', 80, None),
    ('', HERE, '127.9.9.9', 80, None),
    ('', HERE, '::1', 80, None),
    ('', '::1', '127.0.0.1', 80, None),
    ('', '::ffff:127.0.0.1', '::ffff:127.0.0.1', 80, None),
    ('', '64:ff9b::127.0.0.1', '127.0.0.1', 80, '127.0.0.1 is a loopback address'),
    ('', HERE, '64:ff9b::127.0.0.1', 80, '127.0.0.1 is a loopback address, reached through 64:ff9b::7f00:1'),
    ('', HERE, '0.0.0.0', 80, '0.0.0.0 is an unspecified address'),
    ('', HERE, '169.254.169.254', 80, '169.254.169.254 is a metadata address'),
    ('loopback = deny', HERE, '127.0.0.1', 80, '127.0.0.1 is a loopback address'),
    # private
    ('private = deny', THERE, '10.0.0.1', 80, '10.0.0.1 is a private address'),
    ('private = deny', HERE, '192.168.1.1', 80, '192.168.1.1 is a private address'),
    ('private = deny', THERE, '2002:a00:1::', 80, '10.0.0.1 is a private address, reached through 2002:a00:1::'),
    ('private = deny', THERE, '8.8.8.8', 80, None),
    # allowed and denied by name
    ('allow_addresses = loopback', THERE, '127.0.0.1', 80, None),
    ('allow_addresses = 127.0.0.2', THERE, '127.0.0.1', 80, '127.0.0.1 is a loopback address'),
    ('allow_addresses = 169.254.169.254', THERE, '::ffff:169.254.169.254', 80, None),
    ('allow_addresses = any', THERE, '255.255.255.255', 80, None),
    # an option that opens a kind of addresses does not open the metadata addresses in it
    ('allow_addresses = link-local', THERE, '169.254.1.1', 80, None),
    ('allow_addresses = link-local', THERE, '169.254.169.254', 80, '169.254.169.254 is a metadata address'),
    ('allow_addresses = private', THERE, 'fd00:ec2::254', 80, 'fd00:ec2::254 is a metadata address'),
    ('allow_addresses = private fd00:ec2::254', THERE, 'fd00:ec2::254', 80, None),
    ('allow_addresses = 169.254.0.0/16', THERE, '169.254.169.254', 80, None),
    ('allow_addresses = metadata', THERE, 'fd00:42::42', 80, None),
    ('allow_addresses = any', THERE, '169.254.169.254', 80, None),
    ('allow_addresses = any', THERE, '64:ff9b::127.0.0.1', 80, None),
    ('deny_addresses = 8.8.8.0/24', THERE, '8.8.8.8', 80, '8.8.8.8 is in [access] deny_addresses (8.8.8.0/24)'),
    ('deny_addresses = 8.8.8.0/24', THERE, '::ffff:8.8.8.8', 80, '8.8.8.8 is in [access] deny_addresses (8.8.8.0/24)'),
    ('deny_addresses = loopback', HERE, '127.0.0.1', 80, '127.0.0.1 is in [access] deny_addresses (loopback)'),
    ('deny_addresses = 8.8.8.0/24', THERE, '8.8.9.8', 80, None),
    # the proxy itself
    ('', THERE, '192.168.0.1', 9000, '192.168.0.1 port 9000 is this proxy itself'),
    ('', THERE, '::ffff:192.168.0.1', 9000, '192.168.0.1 port 9000 is this proxy itself'),
    ('allow_addresses = any', HERE, '192.168.0.1', 9000, '192.168.0.1 port 9000 is this proxy itself'),
    ('', '192.168.0.1', '192.168.0.1', 9000, '192.168.0.1 port 9000 is this proxy itself'),
    # other addresses of this host: a program that listens on all addresses answers there, too
    ('', THERE, '192.168.0.1', 9001, '192.168.0.1 is an address of this host'),
    ('', THERE, '198.41.0.4', 80, '198.41.0.4 is an address of this host'),
    ('', THERE, '::ffff:198.41.0.4', 80, '198.41.0.4 is an address of this host'),
    ('', THERE, '2001:4860::4', 80, '2001:4860::4 is an address of this host'),
    ('', THERE, '2001:4860::5', 80, None),
    ('', THERE, '64:ff9b::198.41.0.4', 80, '198.41.0.4 is an address of this host, reached through 64:ff9b::c629:4'),
    ('', THERE, '2002:c629:4::', 80, '198.41.0.4 is an address of this host, reached through 2002:c629:4::'),
    ('private = deny', THERE, '192.168.0.1', 9001, '192.168.0.1 is a private address'),
    ('private = deny', THERE, '198.41.0.4', 80, '198.41.0.4 is an address of this host'),
    ('allow_addresses = 198.41.0.4', THERE, '198.41.0.4', 80, None),
    ('', HERE, '198.41.0.4', 80, None),
    ('', '192.168.0.1', '198.41.0.4', 80, None),
    ('', '192.168.0.1', '127.0.0.1', 80, None),
    ('', '2001:4860::4', '127.0.0.1', 80, None),
    ('', HERE, '64:ff9b::198.41.0.4', 80, '198.41.0.4 is an address of this host, reached through 64:ff9b::c629:4'),
    ('loopback = deny', HERE, '198.41.0.4', 80, '198.41.0.4 is an address of this host'),
    ('', HERE, '169.254.7.7', 80, None), ('', HERE, 'fe80::7', 80, None), ('', HERE, '192.0.2.7', 80, None),
    ('', THERE, '169.254.7.7', 80, '169.254.7.7 is a link-local address'),
    ('', THERE, '192.0.2.7', 80, '192.0.2.7 is a reserved address'),
    ('', HERE, '192.0.2.8', 80, '192.0.2.8 is a reserved address'),
    ('loopback = deny', '192.168.0.1', '192.168.0.1', 80, '192.168.0.1 is an address of this host'),
]


@pytest.mark.parametrize('line, client, address, port, why', ADDRESSES)
def test_each_address_is_judged_before_it_is_dialled(line, client, address, port, why):
    policy = access(line, 'http_ports = any')
    if why is None:
        assert policy.check_address(question(client, port=port, host=address.encode('ascii')), address, 0).allowed
    else:
        with pytest.raises(errors.AddressDenied) as raised:
            policy.check_address(question(client, port=port, host=address.encode('ascii')), address, 0)
        assert str(raised.value) == why
        assert isinstance(raised.value, errors.Ourselves) == ('this proxy itself' in why)


def test_a_denied_address_is_denied_inside_another_address_too():
    policy = access('deny_addresses = 8.8.8.8')
    for address in ('64:ff9b::8.8.8.8', '2002:808:808::', '::ffff:0:8.8.8.8'):
        with pytest.raises(errors.AddressDenied):
            policy.check_address(question(THERE), address, 0)


def test_deny_addresses_wins_over_allow_addresses():
    policy = access('allow_addresses = loopback', 'deny_addresses = 127.0.0.1')
    assert policy.check_address(question(THERE), '127.0.0.2', 0).allowed
    with pytest.raises(errors.AddressDenied):
        policy.check_address(question(THERE), '127.0.0.1', 0)


# --- rules, ports and the rest together

RULES = ('rules = allow any git.example:22', '  allow any 192.0.2.7:25', '  allow any .example', '  deny any 8.8.8.0/24',
         '  allow any any:443')


@pytest.mark.parametrize('method, host, port, address, why', [
    # a rule that names ports allows them; for other rules the lists of ports hold
    (b'CONNECT', b'git.example', 22, None, None),
    (b'CONNECT', b'a.example', 22, None, 'port 22 is not among [access] connect_ports'),
    (b'GET', b'a.example', 24, None, 'port 24 is not among [access] http_ports'),
    (b'GET', b'a.example', 25, '9.9.9.9', 'port 25 is not among [access] http_ports'),
    (b'GET', b'a.example', 80, None, None),
    (b'GET', b'a.test', 443, '9.9.9.9', None),
    (b'GET', b'a.test', 80, '9.9.9.9', 'no rule allows it'),
    (b'GET', b'a.test', 443, '8.8.8.8', 'denied by test.ini:5: deny any 8.8.8.0/24'),
    # known before anything is looked up
    (b'GET', b'8.8.8.8', 443, None, 'denied by test.ini:5: deny any 8.8.8.0/24'),
    (b'GET', b'::ffff:8.8.8.8', 443, None, 'denied by test.ini:5: deny any 8.8.8.0/24'),
    # no rule opens special addresses
    (b'GET', b'a.example', 80, '127.0.0.1', '127.0.0.1 is a loopback address'),
    (b'GET', b'192.0.2.7', 25, '192.0.2.7', '192.0.2.7 is a reserved address'),
])
def test_rules_win_over_the_lists_of_ports_and_never_open_special_addresses(method, host, port, address, why):
    policy, asked = access(*RULES), question(method=method, host=host, port=port)

    def judge():
        decision = policy.check_target(asked, 0)
        return decision if address is None else policy.check_address(asked, address, 0)
    if why is None:
        assert judge().allowed
    else:
        with pytest.raises(errors.Denied) as raised:
            judge()
        assert str(raised.value).startswith(why)
        assert raised.value.rule == ('test.ini:5' if 'test.ini:5' in why else '')


def test_a_request_that_no_name_decides_is_decided_by_its_address():
    policy, asked = access(*RULES), question(host=b'a.test', port=443)
    assert policy.check_target(asked, 0).allowed is None
    assert policy.check_address(asked, '9.9.9.9', 0).allowed
    with pytest.raises(errors.Denied):
        policy.check_address(asked, '8.8.8.8', 0)


def test_policy_report_lets_through_only_what_rules_and_ports_refuse():
    policy = access('policy = report', 'clients = private', *RULES)
    for asked, address, why in (
            (question(host=b'a.test'), '9.9.9.9', 'no rule allows it'),
            (question(host=b'a.test'), '8.8.8.8', 'denied by test.ini:7'),
            (question(host=b'a.example', port=25), '9.9.9.9', 'port 25 is not among')):
        policy.check_target(asked, 0)
        decision = policy.check_address(asked, address, 0)
        assert decision.allowed is False and decision.why.startswith(why)
    with pytest.raises(errors.AddressDenied):
        policy.check_address(question(host=b'a.example'), '169.254.169.254', 0)
    with pytest.raises(errors.Denied):
        policy.check_client(parse_ip('9.9.9.9'))


def test_the_refusal_of_an_address_names_the_host_that_led_there():
    with pytest.raises(errors.AddressDenied) as raised:
        access().check_address(question(host=b'a.example'), '64:ff9b::127.0.0.1', 0)
    assert str(raised.value) == '127.0.0.1 is a loopback address, reached through 64:ff9b::7f00:1 of a.example'


def test_an_allowed_address_is_judged_again_after_a_period_and_for_each_client_and_port():
    asked = []
    settings = loading.load('test.ini', ['[access]']).access
    policy = Access(settings, lambda ip, port: asked.append((ip, port)), LOCAL.__contains__)
    for now in (0, 1, 9.9, 10, 11):
        policy.check_address(question('127.0.0.1', port=8080), '127.0.0.1', now)
    assert len(asked) == 2
    for client, address, port in (('127.0.0.2', '127.0.0.1', 8080), ('127.0.0.1', '127.0.0.2', 8080),
                                  ('127.0.0.1', '127.0.0.1', 8081)):
        policy.check_address(question(client, port=port), address, 11)
    assert len(asked) == 5
    for _ in range(2):          # a client gets nothing from what another client may do, and a refusal stays one
        with pytest.raises(errors.AddressDenied):
            policy.check_address(question('10.0.0.5', port=8080), '127.0.0.1', 11)


def test_addresses_that_this_host_gets_or_loses_count_after_one_period():
    local, asked = [], []

    def is_local(ip):
        asked.append(ip)
        return ip in local
    policy, moved = Access(loading.load('test.ini', []).access, lambda ip, port: False, is_local), '198.41.0.9'
    for client in ('10.0.0.5', '10.0.0.6', '10.0.0.7'):
        assert policy.check_address(question(client), moved, 0).allowed
    assert asked == [parse_ip(moved)]
    local.append(parse_ip(moved))
    for _ in range(2):
        with pytest.raises(errors.AddressDenied):
            policy.check_address(question(), moved, PERIOD)
    del local[:]
    assert policy.check_address(question(), moved, 2 * PERIOD).allowed


def test_the_memory_for_decisions_is_bounded():
    policy = access()
    for number in range(REMEMBERED + 10):
        client = '10.%d.%d.7' % (number // 256, number % 256)
        asked = question(client, host=b'%d.example' % number)
        policy.check_client(parse_ip(client))
        policy.check_target(asked, 0)
        policy.check_address(asked, '8.%d.%d.8' % (number // 256, number % 256), 0)
    assert len(policy._local) <= REMEMBERED and len(policy._clients) <= REMEMBERED and len(policy._targets) <= REMEMBERED
    assert len(policy._addresses) <= REMEMBERED
    policy.check_target(question(method=b'X' * 1000), 0)
    assert not [each for each in policy._targets if len(each.method) > 100]


def test_a_remembered_decision_holds_for_the_same_question_only():
    policy = access('clients = private', 'http_ports = 80', 'rules =', '    deny any http://b.example', '    allow any any')
    for _ in range(2):
        assert policy.check_target(question(host=b'a.example', port=80), 0).allowed
        for other in (question(host=b'b.example', port=80), question(host=b'a.example', port=81)):
            with pytest.raises(errors.Denied):
                policy.check_target(other, 0)
        policy.check_client(parse_ip('10.0.0.1'))
        with pytest.raises(errors.Denied):
            policy.check_client(parse_ip('9.9.9.9'))


def test_a_parent_is_judged_by_no_rule_but_may_not_be_this_proxy():
    policy = access('private = deny', 'rules =', '    deny any any')
    for text, port in (('127.0.0.1', 3128), ('192.168.0.1', 9001), ('169.254.169.254', 80)):
        assert policy.check_parent(text, port) is None
    for text in ('192.168.0.1', '::ffff:192.168.0.1'):
        with pytest.raises(errors.LoopDetected) as raised:
            policy.check_parent(text, 9000)
        assert str(raised.value) == 'the parent at %s port 9000 is this proxy itself: correct [upstream] routes' % text

"""The wiring: what exchanges get from one Settings, and that the next Settings share nothing of it."""
from __future__ import absolute_import, division, print_function

import collections

import pytest
from helpers import Recorder

from geproxy import errors
from geproxy.auth import logins
from geproxy.exchange.wiring import Proxy
from geproxy.limits import rates
from geproxy.net.address import parse_ip
from geproxy.observe.record import Record
from geproxy.policy.rules import Question
from geproxy.settings import loading


Life = collections.namedtuple('Life', 'draining')


def wired(text='', is_own=lambda ip, port: False):
    """A Proxy from the text of an ini file, and its Recorder."""
    recorder = Recorder()
    return Proxy(loading.load('test.ini', text.splitlines()), None, recorder, rates.Limits(), None, logins.Logins(recorder.say), is_own,
                 Life(False)), recorder


def question(port):
    """A GET for a.example, from 10.1.2.3."""
    return Question(parse_ip('10.1.2.3'), None, frozenset(), b'GET', b'a.example', port)


def test_via_names_the_version_that_came_and_this_proxy():
    proxy, _recorder = wired('[proxy]\nname = gateway')
    assert proxy.vias[1, 1] == b'1.1 gateway'
    assert proxy.vias[1, 0] == b'1.0 gateway'
    assert proxy.vias[1, 7] == b'1.7 gateway'


def test_via_can_be_left_out():
    proxy, _recorder = wired('[proxy]\nvia = off')
    assert [proxy.vias[1, minor] for minor in (0, 1)] == [b'', b'']


def test_the_name_is_known_as_octets_in_lower_case():
    proxy, _recorder = wired('[proxy]\nname = GateWay')
    assert (proxy.name, proxy.name_octets) == ('GateWay', b'gateway')


def test_the_proxy_has_the_sections_of_its_settings():
    proxy, _recorder = wired('[timeouts]\nhead = 3\n[limits]\nfields = 7')
    assert (proxy.timeouts.head, proxy.limits.fields, proxy.life.draining) == (3, 7, False)


def test_access_is_decided_by_these_settings_and_the_listeners():
    proxy, _recorder = wired('[access]\nclients = 10.0.0.0/8', lambda ip, port: port == 9000)
    proxy.access.check_client(parse_ip('10.1.2.3'))
    with pytest.raises(errors.Denied):
        proxy.access.check_client(parse_ip('127.0.0.1'))
    with pytest.raises(errors.Ourselves):
        proxy.access.check_address(question(9000), '192.168.1.1', 0)


def test_another_settings_makes_another_proxy_and_leaves_the_first_alone():
    first, _recorder = wired('[access]\nhttp_ports = 80')
    second, _recorder = wired('[access]\nhttp_ports = 81')
    for proxy, good, bad in ((first, 80, 81), (second, 81, 80)):
        proxy.access.check_target(question(good), 0)
        with pytest.raises(errors.Denied):
            proxy.access.check_target(question(bad), 0)


def test_the_log_is_told_of_ended_exchanges_and_opened_tunnels():
    proxy, recorder = wired()
    one, two = Record('127.0.0.1'), Record('127.0.0.1')
    proxy.opened(one)
    proxy.observe(two)
    assert (recorder.tunnels, recorder.records) == ([one], [two])


def test_a_bug_is_logged_with_its_traceback_and_the_request_id():
    proxy, recorder = wired()
    record = Record('127.0.0.1')
    try:
        {}['missing']
    except KeyError:
        proxy.report_bug(record)
    said, = recorder.said
    assert said.startswith('[%s] a bug' % record.id)
    assert 'test_a_bug_is_told' in said and "KeyError: 'missing'" in said


def test_a_client_that_a_load_balancer_names_may_not_reach_loopback():
    proxy, _recorder = wired('[proxy]\nproxy_protocol = 10.0.0.1')
    asked = question(80)._replace(client=parse_ip('127.0.0.1'))
    proxy.access.check_address(asked, '127.0.0.1', 0)
    with pytest.raises(errors.AddressDenied):
        proxy.balanced_access.check_address(asked, '127.0.0.1', 0)


def test_without_load_balancers_there_is_one_access():
    proxy, _recorder = wired('')
    assert proxy.balanced_access is proxy.access

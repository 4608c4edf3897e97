"""The wiring: what exchanges get from one Settings, and that the next Settings share nothing of it."""
from __future__ import absolute_import, division, print_function

import collections
import contextlib
import socket

import pytest
from helpers import Recorder, ask, connect, listening, proxying, read_all, read_until
from test_conversation import get, text_of

from geproxy import errors
from geproxy.auth import logins
from geproxy.exchange import wiring
from geproxy.exchange.dialects import HTTP
from geproxy.exchange.wiring import Proxy
from geproxy.http1 import reading
from geproxy.http1.message import Edits
from geproxy.http1.taps import DOWN, UP, Tapped
from geproxy.limits import rates
from geproxy.net.address import parse_ip
from geproxy.observe.observers import Observers
from geproxy.observe.record import Record
from geproxy.policy.rules import Question
from geproxy.policy.treatment import PLAIN
from geproxy.settings import loading


Life = collections.namedtuple('Life', 'draining')


def wired(text='', is_own=lambda ip, port: False):
    """A Proxy from the text of an ini file, and its Recorder."""
    recorder = Recorder()
    return Proxy(loading.load('test.ini', text.splitlines()), None, recorder.say, Observers(recorder.say, [recorder]), rates.Consumption(), None, logins.Logins(recorder.say), is_own,
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


def test_a_bug_is_logged_with_its_traceback_and_the_request_id():
    proxy, recorder = wired()
    record = Record('127.0.0.1')
    try:
        {}['missing']
    except KeyError:
        proxy.report_bug(record)
    said, = recorder.said
    assert said.startswith('[%s] a bug' % record.id)
    assert 'test_a_bug_is_logged' in said and "KeyError: 'missing'" in said


def test_a_client_that_a_load_balancer_names_may_not_reach_loopback():
    proxy, _recorder = wired('[proxy]\nproxy_protocol = 10.0.0.1')
    asked = question(80)._replace(client=parse_ip('127.0.0.1'))
    proxy.access.check_address(asked, '127.0.0.1', 0)
    with pytest.raises(errors.AddressDenied):
        proxy.balanced_access.check_address(asked, '127.0.0.1', 0)


def test_without_load_balancers_there_is_one_access():
    proxy, _recorder = wired('')
    assert proxy.balanced_access is proxy.access


def test_a_treatment_has_names_and_is_the_plain_one_unless_something_asks_for_more():
    request = reading.parse_request(b'GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n')
    proxy, _recorder = wired('[access]\nrules = allow any any rate 1m strip Cookie set X-Env=test')
    rule, = proxy.access.ruleset.rules
    assert proxy.treat(request, '10.1.2.3', 'key', None) is PLAIN
    treatment = proxy.treat(request, '10.1.2.3', 'key', rule)
    assert treatment.edits == Edits(removed={b'cookie', b'x-env'}, added=b'X-Env: test\r\n')
    assert treatment.up_pace is not None and treatment.down_pace is not None


# --- log-ins

class Request(object):
    """A request that has these values of Proxy-Authorization."""

    def __init__(self, *values):
        self._values = list(values)

    def values(self, name):
        """Those values."""
        assert name == b'proxy-authorization'
        return self._values


@pytest.mark.parametrize('values, error, what', [
    ([], errors.LoginRequired, 'this proxy asks for a name and a password'),
    ([b''], errors.LoginRequired, 'this proxy asks for a name and a password, by the scheme Basic'),
    ([b'Bearer hunter2'], errors.LoginRequired, 'this proxy asks for a name and a password, by the scheme Basic'),
    ([b'Basic hunter2'], errors.LoginFailed, 'log-in failed: the text after Basic is not base64'),
    ([b'Basic aHVudGVyMg=='], errors.LoginFailed, 'log-in failed: there is no colon between name and password'),
    ([b'Basic Ym9iOgo='], errors.LoginFailed, 'log-in failed: name or password has a control character'),
    ([b'Basic Ym9iOnNlY3JldA=='], errors.LoginFailed, "log-in as 'bob' failed"),
    ([b'Basic Ym9iOnNlY3JldA=='] * 2, errors.BadRequest, 'there are 2 Proxy-Authorization fields: send one'),
])
def test_a_log_in_that_is_refused_says_why_and_quotes_no_secret(tmpdir, values, error, what):
    tmpdir.join('users').write('eve:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n')
    proxy, _recorder = wired('[auth]\nusers = %s\nexempt = 10.0.0.9' % tmpdir.join('users'))
    with pytest.raises(errors.ProxyError) as caught:
        proxy.identify(HTTP.credentials(Request(*values)), '10.0.0.1', parse_ip('10.0.0.1'))
    assert type(caught.value) is error and str(caught.value) == what
    if values:      # an exempt client that sends a field is judged by it
        with pytest.raises(error):
            proxy.identify(HTTP.credentials(Request(*values)), '10.0.0.9', parse_ip('10.0.0.9'))
    else:
        assert proxy.identify(None, '10.0.0.9', parse_ip('10.0.0.9')) is logins.ANONYMOUS


# --- taps

class Seen(object):
    """A tap that keeps all octets of its exchange, by direction."""

    def __init__(self):
        self.octets = {UP: b'', DOWN: b''}

    def body(self, direction, body):
        """See taps."""
        return Tapped(body, lambda data: self.tunnel(direction, data))

    def tunnel(self, direction, octets):
        """See taps."""
        self.octets[direction] += bytes(bytearray(octets))


@contextlib.contextmanager
def tapped(count=1):
    """A proxy with so many taps on each exchange: (its address, the Recorder, the list of the taps that were made)."""
    made = []

    def tap(_exchange):
        made.append(Seen())
        return made[-1]
    before, wiring.TAPS = wiring.TAPS, (lambda _settings: tap,) * count + (lambda _settings: None,)
    try:
        with proxying() as (address, proxy):
            yield address, proxy, made
    finally:
        wiring.TAPS = before


LONG = b'0123456789abcdef' * 20000


@pytest.mark.parametrize('head, sent, content', [
    (b'Content-Length: 5\r\n', b'hello', b'hello'),
    (b'Content-Length: %d\r\n' % len(LONG), LONG, LONG),
    (b'Transfer-Encoding: chunked\r\n', b'%x\r\n%s\r\n3\r\nend\r\n0\r\n\r\n' % (len(LONG), LONG), LONG + b'end'),
    (b'', LONG, LONG),
])
def test_a_tap_sees_each_octet_of_a_response_body_once(head, sent, content):
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\n%s\r\n%s' % (head, sent))
    with listening(handle) as origin, tapped() as (address, _proxy, made):
        shown = ask(address, get(origin).replace(b'HTTP/1.1\r\n', b'HTTP/1.0\r\n'))
        assert shown.partition(b'\r\n\r\n')[2] == content
        assert [(tap.octets[UP], tap.octets[DOWN]) for tap in made] == [(b'', content)]


@pytest.mark.parametrize('head, sent, content', [
    (b'Content-Length: 5\r\n', b'hello', b'hello'),
    (b'Content-Length: %d\r\n' % len(LONG), LONG, LONG),
    (b'Transfer-Encoding: chunked\r\n', b'5\r\nhello\r\n0\r\n\r\n', b'hello'),
])
def test_taps_see_each_octet_of_a_request_body_once(head, sent, content):
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
        read_all(sock)
    with listening(handle) as origin, tapped(2) as (address, _proxy, made):
        request = get(origin, method=b'POST')
        shown = ask(address, request[:-2] + head + b'\r\n' + sent)
        assert shown.endswith(b'\r\n\r\nok')
        assert [(tap.octets[UP], tap.octets[DOWN]) for tap in made] == [(content, b'ok')] * 2


@pytest.mark.parametrize('upgrade', [False, True])
def test_a_tap_sees_each_octet_of_a_tunnel_once(upgrade):
    def handle(sock):
        if upgrade:
            read_until(sock, b'\r\n\r\n')
            sock.sendall(b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
        sock.sendall(read_until(sock, b'END').upper())
    with listening(handle) as origin, tapped() as (address, proxy, made):
        opening = get(origin, more=b'Connection: Upgrade\r\nUpgrade: websocket\r\n') if upgrade else (
            b'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n' % text_of(origin))
        assert ask(address, opening + b'early END').endswith(b'EARLY END')
        proxy.wait(1)
        assert [(tap.octets[UP], tap.octets[DOWN]) for tap in made] == [(b'early END', b'EARLY END')]


class Failing(object):
    """A tap with a bug: it shows when it sees octets of one direction."""

    def __init__(self, direction):
        self.direction = direction

    def body(self, direction, body):
        """See taps."""
        return Tapped(body, lambda data: self.tunnel(direction, data))

    def tunnel(self, direction, octets):
        """See taps."""
        if direction == self.direction:
            raise ZeroDivisionError('a bug in a tap')


@pytest.mark.parametrize('way', [UP, DOWN])
@pytest.mark.parametrize('paced', ['', '[limits]\nrate = 100m\n'], ids=['in turns', 'one greenlet each'])
@pytest.mark.parametrize('kind', ['body', 'tunnel'])
def test_an_exchange_ends_if_its_tap_fails_and_nothing_looks_whole(monkeypatch, capfd, kind, paced, way):
    ends = []

    def handle(sock):
        try:
            if kind == 'body':
                read_until(sock, b'hel')
            ends.append(sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel') or read_until(sock, b'lo\r\n0'))
        except socket.error:
            ends.append(b'reset')
    monkeypatch.setattr(wiring, 'TAPS', (lambda _settings: lambda _exchange: Failing(way),))
    with listening(handle) as origin, proxying(paced) as (address, proxy):
        sock = connect(address)
        sock.sendall(b'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\nhello' % text_of(origin) if kind == 'tunnel' else
                     get(origin, more=b'Transfer-Encoding: chunked\r\n', method=b'POST') + b'5\r\nhel')
        if kind == 'body':
            sock.sendall(b'lo\r\n')
        shown = read_all(sock)
        sock.close()
        record, = proxy.wait()
        assert record.reason == 'proxy_internal_error'
        assert way == UP or not shown.endswith(b'hel')
        pool = proxy.server._upstream
        proxy.wait_until(lambda: pool.connections == pool.kept and ends)
        assert b'lo\r\n0' not in ends[0]
    assert 'a bug in a tap' in capfd.readouterr().err + ''.join(proxy.said)


def test_without_taps_none_is_asked_for():
    assert wired()[0].tap is None

"""Tricks to get around a rule. None may reach the canary: what listens on 127.0.0.2, or is asked for `blocked`."""
from __future__ import absolute_import, division, print_function

import contextlib
import re
import socket

import pytest
from helpers import ask, connect, listening, proxying, read_all, read_until
from processes import Client

from geproxy.upstream.resolver import Resolver, look_up

GOOD, CANARY = '127.0.0.1', '127.0.0.2'
INI = '''
[access]
rules =
  deny any .blocked.test            # blocked
  deny any 127.0.0.2,[::1]          # canary
  deny 127.0.0.9 any                # not you
  deny any DELETE any               # nothing goes
  allow any .good.test,127.0.0.1    # good
'''


class Origin(object):
    """Listens on all addresses of this host; remembers in `reached` whatever came to the wrong one."""

    def __init__(self):
        self.reached = []
        self.port = 0

    def handle(self, sock):
        """Answer requests with what was asked for."""
        if sock.getsockname()[0] != GOOD:
            self.reached.append(sock.getsockname())
        sock.settimeout(None)           # it may be kept for as long as all these tests take
        while True:
            head = read_until(sock, b'\r\n\r\n')
            if not head:
                return
            head, _end, body = head.partition(b'\r\n\r\n')
            length = re.search(br'(?i)\r\nContent-Length: (\d+)', head)
            while length and len(body) < int(length.group(1)):
                body += sock.recv(65536)
            host = re.search(br'(?i)\r\nHost: ([^\r]*)', head).group(1)
            if b'blocked' in host:
                self.reached.append(host)
            said = b'%s at %s' % (head.partition(b' HTTP/')[0], host)
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(said), said))

    def fill(self, octets):
        """`octets`, with the port of this origin for PORT."""
        return octets.replace(b'PORT', b'%d' % self.port)


def names(host):
    """Stands where resolver.look_up does: what is called good is not always."""
    if host in ('sneaky.good.test', 'blocked.test') or host.endswith('.blocked.test'):
        return [CANARY]
    if host.rstrip('.').endswith('good.test'):
        return [GOOD]
    if re.match(r'[0-9a-fx.]+\Z|localhost', host, re.I):
        return look_up(host)
    raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')


@contextlib.contextmanager
def guarded(names=names, ini=INI):
    """An origin, and a proxy with `names` and rules against the canary: gives the Origin, with `proxy` (host, port),
    and `records` of helpers.Recorder. Whatever happens, the canary must not have been reached."""
    origin = Origin()
    with listening(origin.handle, '0.0.0.0') as (_host, origin.port), proxying(ini) as (origin.proxy, origin.recorder):
        origin.recorder.server.proxy.upstream.dialling.resolver = Resolver(keep=-1, ask=names)
        yield origin
    assert origin.reached == []


@pytest.fixture(scope='module')
def house():
    """One for all tricks that need no other."""
    with guarded() as origin:
        yield origin


def statuses(shown):
    """The status of each response in what came from the proxy, as text."""
    return ' '.join(re.findall(r'HTTP/1\.1 (\d{3}) ', shown.decode('latin-1')))


def tried(house, octets):
    """What the proxy says to `octets`; fails if the canary has been reached."""
    shown = ask(house.proxy, house.fill(octets))
    assert house.reached == []
    return shown


def test_the_canary_sings():
    """Without rules it is reached, and that is noticed: by its address, and by what a virtual host would go by."""
    for octets in (TO_BLOCKED, b'GET http://blocked.good.test:PORT/ HTTP/1.1\r\nHost: a\r\n'):
        with pytest.raises(AssertionError):
            with guarded(ini='') as house:
                tried(house, octets + b'\r\n')


# --- hosts, in each place where a host may stand ---------------------------------------------------------------------

HOSTS = [
    (b'good.test', 200),                # this is no trick: it shows that the others are refused for what they are
    (b'127.0.0.1', 200),
    (b'blocked.test', 403),
    (b'BLOCKED.TEST', 403),
    (b'bLoCkEd.tEsT', 403),
    (b'www.blocked.test', 403),
    (b'good.test.blocked.test', 403),
    (b'blocked.test.', 403),
    (b'BLOCKED.test.', 403),
    (b'blocked.test..', 400),
    (b'.blocked.test', 400),
    (b'www..blocked.test', 400),
    (b'sneaky.good.test', 403),         # its address is not good
    (b'a' * 64 + b'.blocked.test', 403),
    (b'a' * 64 + b'.good.test', 502),
    (b'a.' * 130 + b'good.test', 400),
    # percent-encoding, and what some programs take for a dot or a letter
    (b'%62locked.test', 400),
    (b'blocked%2etest', 400),
    (b'blocked.test%2f.good.test', 400),
    (b'blocked.test%00.good.test', 400),
    (b'blocked.test%0d%0a.good.test', 400),
    (b'blocked.test\x00.good.test', 400),
    (b'blocked.test\x0b', 400),
    (b'blocked\xe3\x80\x82test', 400),              # an ideographic full stop
    (b'\xef\xbd\x82locked.test', 400),              # fullwidth
    (b'bloc\xc2\xadked.test', 400),                 # a soft hyphen
    (b'bl\xd0\xbecked.test', 400),                  # a Cyrillic letter
    (b'bloc\xe2\x80\x8bked.test', 400),             # a zero-width space
    (b'blocked.test\xff', 400),
    (b'xn--blocked-.test', 502),
    (b'good.test;blocked.test', 400),
    (b'good.test,blocked.test', 400),
    (b'good.test blocked.test', 400),
    (b'good.test\tblocked.test', 400),
    (b'good.test\\.blocked.test', 400),
    (b'good.test&blocked.test', 400),
    (b'good.test|blocked.test', 400),
    (b'(blocked.test)', 400),
    (b'[blocked.test]', 400),
    # the address of the canary, as inet_aton and others have it
    (b'127.0.0.2', 403),
    (b'127.0.0.2.', 403),
    (b'127.2', 403),
    (b'127.0.2', 403),
    (b'2130706434', 403),
    (b'0x7f000002', 403),
    (b'0X7F000002', 403),
    (b'0x7f.0x0.0x0.0x2', 403),
    (b'0x7f.2', 403),
    (b'0177.0.0.2', 403),
    (b'0177.0.0.02', 403),
    (b'017700000002', 403),
    (b'127.000.000.002', 403),
    (b'127.0.0.0x2', 403),
    (b'[127.0.0.2]', 400),
    # ... within IPv6
    (b'[::ffff:127.0.0.2]', 403),
    (b'[::FFFF:7f00:2]', 403),
    (b'[0:0:0:0:0:ffff:7f00:0002]', 403),
    (b'[0000:0000:0000:0000:0000:FFFF:127.0.0.2]', 403),
    (b'[::ffff:0:127.0.0.2]', 403),
    (b'[::127.0.0.2]', 403),
    (b'[64:ff9b::127.0.0.2]', 403),
    (b'[64:ff9b::7f00:2]', 403),
    (b'[2002:7f00:2::1]', 403),
    (b'[2001:0:808:808::80ff:fffd]', 403),          # Teredo, to 127.0.0.2
    (b'[2001:0:7f00:2::f7f7:f7f7]', 403),           # Teredo, by 127.0.0.2
    (b'[::1]', 403),
    (b'[0:0::1]', 403),
    (b'[::1%25lo]', 400),
    (b'[::1%lo]', 400),
    (b'[fe80::1%25eth0]', 400),
    (b'::1', 400),
    (b'[::1', 400),
    (b'[[::1]]', 400),
    # what this host takes for itself
    (b'0.0.0.0', 403),
    (b'0', 403),
    (b'0x0', 403),
    (b'[::]', 403),
    (b'[::ffff:0.0.0.0]', 403),
    (b'0.0.0.2', 403),
    (b'127.255.255.254', 403),
]


@pytest.mark.parametrize('form', [
    b'GET http://%s:PORT/ HTTP/1.1\r\nHost: good.test:PORT\r\nConnection: close\r\n\r\n',
    b'GET / HTTP/1.1\r\nConnection: close\r\nHost: %s:PORT\r\n\r\n',
    b'CONNECT %s:PORT HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n',
], ids=['absolute', 'host', 'connect'])
@pytest.mark.parametrize('host, status', HOSTS)
def test_a_host_is_recognised_in_every_spelling(house, host, status, form):
    assert statuses(tried(house, form % host)) == str(status)


# --- request targets -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('target, status', [
    (b'HTTP://blocked.test:PORT/', '403'),
    (b'hTTp://BLOCKED.test:PORT/', '403'),
    (b'http://blocked.test:PORT', '403'),
    (b'http://blocked.test:PORT?good.test', '403'),
    (b'http://blocked.test?@good.test:PORT/', '403'),
    (b'http://blocked.test/@good.test:PORT/', '403'),
    (b'http://blocked.test:PORT#@good.test:PORT/', '403'),
    (b'http://blocked.test#.good.test:PORT/', '403'),
    (b'http://good.test@blocked.test:PORT/', '403'),
    (b'http://good.test:PORT@blocked.test:PORT/', '403'),
    (b'http://good.test:PORT%40blocked.test:PORT/', '400'),
    (b'http://good.test%40blocked.test:PORT/', '400'),
    (b'http://blocked.test:PORT@good.test:PORT/', '200'),
    (b'http://@blocked.test:PORT/', '403'),
    (b'http://a@good.test@blocked.test:PORT/', '400'),
    (b'http://blocked.test:PORT#@good.test@good.test:PORT/', '403'),
    (b'http://good.test:PORT#@blocked.test:PORT/', '200'),
    (b'http://blocked.test\xff@good.test\xff:PORT/', '400'),
    (b'http://good.test\\@blocked.test:PORT/', '400'),
    (b'http://blocked.test:PORT\\@good.test:PORT/', '400'),
    (b'http:\\\\blocked.test:PORT/', '400'),
    (b'http:\\\\blocked.test:PORT\\', '400'),
    (b'http:/\\blocked.test:PORT/', '400'),
    (b'http:/blocked.test:PORT/', '400'),
    (b'http:blocked.test:PORT/', '400'),
    (b'http:///blocked.test:PORT/', '400'),
    (b'http:////blocked.test:PORT/', '400'),
    (b'http://:PORT/', '400'),
    (b'http://http://blocked.test:PORT/', '502'),   # a host called http
    (b'\thttp://blocked.test:PORT/', '400'),
    (b'ht\ttp://blocked.test:PORT/', '400'),
    (b'http://bloc\tked.test:PORT/', '400'),
    (b'http://blocked.test:PORT/ http://good.test:PORT/', '400'),
    (b'blocked.test:PORT', '400'),
    (b'*', '400'),
    (b'https://blocked.test:PORT/', '501'),
    (b'HTTPS://good.test:PORT/', '501'),
    (b'ws://blocked.test:PORT/', '501'),
    (b'ftp://blocked.test:PORT/', '501'),
    (b'gopher://blocked.test:PORT/_GET', '501'),
    (b'file:///etc/passwd', '501'),
    # ports
    (b'http://blocked.test/', '403'),
    (b'http://blocked.test:/', '403'),
    (b'http://blocked.test:00080/', '403'),
    (b'http://blocked.test:000080/', '400'),
    (b'http://blocked.test:0/', '400'),
    (b'http://blocked.test:65616/', '400'),         # 80 + 65536
    (b'http://blocked.test:-80/', '400'),
    (b'http://blocked.test:+80/', '400'),
    (b'http://blocked.test:8_0/', '400'),
    (b'http://blocked.test:0x50/', '400'),
    (b'http://blocked.test: 80/', '400'),
    (b'http://blocked.test:\xd9\xa8\xd9\xa0/', '400'),      # 80 in Arabic digits
    (b'http://blocked.test:PORT:PORT/', '400'),
    (b'http://blocked.test:80.good.test/', '400'),
])
def test_a_target_is_cut_where_it_is_to_be_cut(house, target, status):
    request = b'GET %s HTTP/1.1\r\nHost: good.test:PORT\r\nConnection: close\r\n\r\n' % target
    assert statuses(tried(house, request)) == status


@pytest.mark.parametrize('target, path', [
    (b'//blocked.test:PORT/', b'//blocked.test:PORT/'),
    (b'/http://blocked.test:PORT/', b'/http://blocked.test:PORT/'),
    (b'/@blocked.test:PORT/', b'/@blocked.test:PORT/'),
    (b'/\\blocked.test:PORT/', b'/\\blocked.test:PORT/'),
    (b'/?http://blocked.test:PORT/', b'/?http://blocked.test:PORT/'),
    (b'/%0d%0aHost:%20blocked.test:PORT', b'/%0d%0aHost:%20blocked.test:PORT'),
    (b'http://good.test:PORT//blocked.test/', b'//blocked.test/'),
    (b'http://good.test:PORT/..//blocked.test/', b'/..//blocked.test/'),
    (b'http://good.test:PORT?@blocked.test/', b'/?@blocked.test/'),
])
def test_a_path_is_passed_on_as_it_came(house, target, path):
    shown = tried(house, b'GET %s HTTP/1.1\r\nHost: good.test:PORT\r\nConnection: close\r\n\r\n' % target)
    assert shown.endswith(house.fill(b'\r\n\r\nGET %s at good.test:PORT' % path))


# --- heads -----------------------------------------------------------------------------------------------------------

TO_GOOD = b'GET http://good.test:PORT/ HTTP/1.1\r\nHost: good.test:PORT\r\n'
TO_BLOCKED = b'GET http://blocked.test:PORT/ HTTP/1.1\r\nHost: blocked.test:PORT\r\n'
HIDDEN = b'GET http://blocked.test:PORT/hidden HTTP/1.1\r\nHost: blocked.test:PORT\r\n\r\n'


@pytest.mark.parametrize('octets, expected', [
    # the host of the target and that of Host
    (b'GET http://blocked.test:PORT/ HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '403'),
    (b'GET http://good.test:PORT/ HTTP/1.1\r\nHost: blocked.test:PORT\r\n\r\n', '200'),      # which goes as good.test
    (b'GET / HTTP/1.1\r\nHost: good.test:PORT\r\nHost: blocked.test:PORT\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\nHost: good.test:PORT\r\nhOST: blocked.test:PORT\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\nHost: good.test:PORT, blocked.test:PORT\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\nHost: good.test:PORT\r\n Host: blocked.test:PORT\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\n Host: good.test:PORT\r\nHost: blocked.test:PORT\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\nHost: good.test:PORT\r\nHost : blocked.test:PORT\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\nHost: good.test:PORT\rHost: blocked.test:PORT\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\nHost: good.test:PORT\nHost: blocked.test:PORT\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\nHost: good.test:PORT\x00blocked.test\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\nHost: http://blocked.test:PORT/\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\nHost: blocked.test:PORT/good.test\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\nHost:\r\n\r\n', '400'),
    (b'GET / HTTP/1.1\r\n\r\n', '400'),
    (b'GET / HTTP/1.0\r\n\r\n', '400'),
    (b'GET / HTTP/1.0\r\nHost: blocked.test:PORT\r\n\r\n', '403'),
    (b'GET http://blocked.test:PORT/ HTTP/1.0\r\n\r\n', '403'),
    (b'GET http://blocked.test:PORT/\r\n\r\n', '400'),
    (b'GET http://blocked.test:PORT/ HTTP/0.9\r\n\r\n', '505'),
    (b'GET http://blocked.test:PORT/ HTTP/2.0\r\n\r\n', '505'),
    (b'\r\n\r\n' + TO_BLOCKED + b'\r\n', '403'),
    # methods
    (b'CONNECT blocked.test:PORT HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '403'),
    (b'CONNECT blocked.test:PORT HTTP/1.0\r\n\r\n', '403'),
    (b'CONNECT blocked.test HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '400'),
    (b'CONNECT http://blocked.test:PORT HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '400'),
    (b'CONNECT blocked.test:PORT/ HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '400'),
    (b'CONNECT good.test:PORT@blocked.test:PORT HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '400'),
    (b'CONNECT / HTTP/1.1\r\nHost: blocked.test:PORT\r\n\r\n', '400'),
    (b'CONNECT * HTTP/1.1\r\nHost: blocked.test:PORT\r\n\r\n', '400'),
    (b'connect blocked.test:PORT HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '400'),
    (b'Connect http://blocked.test:PORT/ HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '403'),
    (b'CONNECT\tblocked.test:PORT HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '400'),
    (b'get http://blocked.test:PORT/ HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '403'),
    (b'FROB http://blocked.test:PORT/ HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '403'),
    (b'OPTIONS http://blocked.test:PORT HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n', '403'),
    (b'OPTIONS * HTTP/1.1\r\nHost: blocked.test:PORT\r\n\r\n', '403'),
    (b'TRACE http://blocked.test:PORT/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\n\r\n', '403'),
    (b'DELETE http://good.test:PORT/ HTTP/1.1\r\nHost: a\r\n\r\n', '403'),
    (b'delete http://good.test:PORT/ HTTP/1.1\r\nHost: a\r\n\r\n', '403'),
    (b'DELETE http://good.test:PORT/ HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: GET\r\n\r\n', '403'),
    (b'DELETE http://good.test:PORT/ HTTP/1.1\r\nHost: a\r\nX-Method-Override: GET\r\nX-HTTP-Method: GET\r\n\r\n', '403'),
    # fields that other programs go by
    (TO_BLOCKED + b'X-Forwarded-Host: good.test\r\n\r\n', '403'),
    (TO_BLOCKED + b'X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1;host=good.test\r\n\r\n', '403'),
    (TO_BLOCKED + b'X-Original-URL: http://good.test:PORT/\r\nX-Rewrite-URL: /\r\n\r\n', '403'),
    (TO_BLOCKED + b'Proxy-Authorization: Basic YTpi\r\n\r\n', '403'),
    (TO_GOOD + b'X-Forwarded-Host: blocked.test:PORT\r\n\r\n', '200'),
    (TO_GOOD + b'X-Original-URL: http://blocked.test:PORT/\r\nX-Rewrite-URL: http://blocked.test:PORT/\r\n\r\n', '200'),
    (TO_GOOD + b'X-Host: blocked.test\r\nX-Forwarded-Server: blocked.test\r\nDestination: http://blocked.test\r\n\r\n', '200'),
    (TO_GOOD + b':authority: blocked.test:PORT\r\n\r\n', '400'),
    # fields between neighbours
    (TO_GOOD + b'Connection: Host\r\n\r\n', '200'),
    (TO_BLOCKED + b'Connection: Host, close\r\n\r\n', '403'),
    (b'GET / HTTP/1.1\r\nConnection: host\r\nHost: blocked.test:PORT\r\n\r\n', '403'),
    (TO_GOOD + b'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n' + HIDDEN, '200 403'),
    (TO_GOOD + b'Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n' + HIDDEN, '200 403'),
    (TO_GOOD + b'Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n' + HIDDEN, '200 403'),
    # the second request
    (TO_GOOD + b'\r\n' + TO_BLOCKED + b'\r\n', '200 403'),
    (TO_BLOCKED + b'\r\n' + TO_GOOD + b'\r\n', '403 200'),
    (TO_GOOD + b'\r\n' + TO_GOOD + b'\r\n' + TO_BLOCKED + b'\r\n' + TO_GOOD + b'\r\n', '200 200 403 200'),
    (TO_GOOD + b'\r\nGET / HTTP/1.1\r\nHost: blocked.test:PORT\r\n\r\n', '200 403'),
    (TO_GOOD + b'\r\nCONNECT blocked.test:PORT HTTP/1.1\r\nHost: a\r\n\r\n', '200 403'),
    (TO_GOOD + b'Connection: close\r\n\r\n' + HIDDEN, '200'),
    # a request that hides in another's body
    (TO_GOOD + b'Content-Length: %d\r\n\r\n' % len(HIDDEN) + HIDDEN, '200'),
    (TO_GOOD + b'Content-Length: 0\r\n\r\n' + HIDDEN, '200 403'),
    (TO_GOOD + b'Content-Length: 0\r\nContent-Length: 9\r\n\r\n' + HIDDEN, '400'),
    (TO_GOOD + b'Content-Length: +9\r\n\r\n' + HIDDEN, '400'),
    (TO_GOOD + b'Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' + HIDDEN, '400'),
    (TO_GOOD + b'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n' + HIDDEN, '400'),
    (TO_GOOD + b'Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n' + HIDDEN, '400'),
    (TO_GOOD + b'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n' + HIDDEN, '400'),
    (TO_GOOD + b'Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n' + HIDDEN, '400'),
    (TO_BLOCKED + b'Content-Length: 2\r\nExpect: 100-continue\r\n\r\n', '403'),
])
def test_a_head_is_read_once_and_as_the_origin_will_read_it(house, octets, expected):
    assert statuses(tried(house, octets)) == expected


# --- stories ---------------------------------------------------------------------------------------------------------

def test_each_request_on_a_kept_connection_is_judged(house):
    with Client(house.proxy) as client:
        for octets, status in ((TO_GOOD, b'200'), (TO_BLOCKED, b'403'), (TO_GOOD, b'200'), (TO_BLOCKED, b'403')):
            assert client.ask(house.fill(octets + b'\r\n')).startswith(b'HTTP/1.1 %s ' % status)
    assert house.reached == []


def test_requests_in_a_tunnel_go_where_the_tunnel_goes():
    got = []

    def handle(sock):
        got.append((sock.getsockname()[0], read_until(sock, b'\r\n\r\n')))
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    with listening(handle, '0.0.0.0') as (_host, port), proxying(INI) as (address, proxy):
        inside = b'GET http://127.0.0.2:%d/ HTTP/1.1\r\nHost: 127.0.0.2\r\n\r\n' % port
        shown = ask(address, b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.2\r\n\r\n' % port + inside)
        assert statuses(shown) == '200 200'
        assert [record.address for record in proxy.wait()] == [GOOD]
    assert got == [(GOOD, inside)]


@pytest.mark.parametrize('location', [
    b'http://blocked.test:PORT/', b'http://127.0.0.2:PORT/', b'http://2130706434:PORT/', b'//blocked.test:PORT/',
    b'http://sneaky.good.test:PORT/', b'https://blocked.test:PORT/'])
def test_the_request_after_a_redirect_is_judged(house, location):
    def redirect(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(house.fill(b'HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n' % location))
    with listening(redirect) as (_host, port):
        shown = ask(house.proxy, b'GET http://good.test:%d/ HTTP/1.1\r\nHost: a\r\n\r\n' % port)
    url = re.search(br'Location: (\S+)', shown).group(1)
    assert statuses(shown) == '302' and url == house.fill(location)
    if url.startswith(b'https://'):
        followed = b'CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n' % url.split(b'/')[2]
    else:
        followed = b'GET http://%s HTTP/1.1\r\nHost: a\r\n\r\n' % url.partition(b'//')[2]
    assert statuses(tried(house, followed)) == '403'


class Rebinding(object):
    """Stands where resolver.look_up does: answers each question with the next of `answers`, and then with the last."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0

    def __call__(self, host):
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize('request_line', [b'GET http://%s:PORT/ HTTP/1.1', b'CONNECT %s:PORT HTTP/1.1'])
@pytest.mark.parametrize('host', [b'rebinding.good.test', b'rebinding.elsewhere.test'])     # allowed by name; by address
def test_a_name_that_leads_elsewhere_the_second_time_is_denied_there(request_line, host):
    names = Rebinding([GOOD], [CANARY])
    with guarded(names, INI + '[upstream]\nkeep = 0\n') as house:
        for number, status in enumerate(('200', '403', '403'), 1):
            assert statuses(tried(house, request_line % host + b'\r\nHost: a\r\nConnection: close\r\n\r\n'))[:3] == status
            # What is dialled is what was judged: nobody asks again in between.
            assert names.asked == number


def test_a_lost_connection_is_not_made_again_to_where_its_name_leads_now():
    """The origin ends a kept connection with the second request on it, which is repeated: behind another look-up."""
    names, seen = Rebinding([GOOD], [CANARY]), []

    def handle(sock):
        while read_until(sock, b'\r\n\r\n'):
            seen.append(sock.getsockname()[0])
            if len(seen) == 2:
                return
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    with guarded(names) as house, listening(handle, '0.0.0.0') as (_host, port):
        request = b'GET http://x.good.test:%d/ HTTP/1.1\r\nHost: a\r\n\r\n' % port
        assert statuses(ask(house.proxy, request + request)) == '200 403'
    assert (seen, names.asked) == ([GOOD, GOOD], 2)


@pytest.mark.parametrize('answer', [[CANARY, GOOD], [GOOD, CANARY], ['::1', CANARY, '::ffff:127.0.0.2', GOOD, '0.0.0.0']])
@pytest.mark.parametrize('host', [b'mixed.good.test', b'mixed.elsewhere.test'])
def test_of_good_and_denied_addresses_only_the_good_one_is_dialled(answer, host):
    with guarded(lambda host: answer) as house:
        assert statuses(tried(house, b'GET http://%s:PORT/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' % host)) == '200'
        assert [record.address for record in house.recorder.wait()] == [GOOD]


def test_a_denied_address_is_no_way_out_where_the_good_one_fails():
    with guarded(lambda host: [GOOD, CANARY]) as house:
        bound = socket.socket()
        bound.bind((GOOD, 0))               # and does not listen: refused
        canary = socket.socket()
        canary.bind((CANARY, bound.getsockname()[1]))
        canary.listen(5)
        shown = ask(house.proxy, b'GET http://x.good.test:%d/ HTTP/1.1\r\nHost: a\r\n\r\n' % bound.getsockname()[1])
        canary.settimeout(0)
        with pytest.raises(socket.error):
            canary.accept()
        canary.close()
        bound.close()
        assert statuses(shown) == '502'


@pytest.mark.parametrize('spoof', [b'', b'X-Forwarded-For: 127.0.0.1\r\n', b'Forwarded: for=127.0.0.1\r\n',
                                   b'X-Real-IP: 127.0.0.1\r\n', b'Client-IP: 127.0.0.1\r\nVia: 1.1 127.0.0.1\r\n'])
def test_a_client_is_the_peer_even_if_a_field_names_another(house, spoof):
    octets = house.fill(TO_GOOD) + spoof + b'\r\n'
    assert statuses(ask(house.proxy, octets, '127.0.0.1')) == '200'
    assert statuses(ask(house.proxy, octets, '127.0.0.9')) == '403'


def test_a_connection_kept_for_one_client_does_not_open_its_origin_to_another():
    ini = '[access]\nrules =\n  deny 127.0.0.9 127.0.0.1\n  allow any any\n'
    with guarded(ini=ini) as house:
        octets = house.fill(TO_GOOD) + b'\r\n'
        assert [statuses(ask(house.proxy, octets, client)) for client in ('127.0.0.1', '127.0.0.8', '127.0.0.9')] == [
            '200', '200', '403']
        assert [record.kept for record in house.recorder.wait(3)] == [False, True, False]


@pytest.mark.parametrize('host', [
    b'localhost', b'LOCALHOST', b'localhost.', b'127.0.0.1', b'127.1', b'2130706433', b'[::1]', b'[::ffff:127.0.0.1]', b'0.0.0.0',
    b'[::]', b'x.good.test', b'169.254.169.254', b'[fe80::1]', b'[64:ff9b::127.0.0.1]', b'255.255.255.255', b'224.0.0.1'])
def test_no_rule_opens_special_addresses(host):
    with guarded(ini='[access]\nloopback = deny\nrules = allow any any\n') as house:
        assert statuses(tried(house, b'GET http://%s:PORT/ HTTP/1.1\r\nHost: a\r\n\r\n' % host)) == '403'
        assert house.recorder.wait()[0].reason == 'destination_ip_prohibited'


@pytest.mark.parametrize('octets', [HIDDEN, b'CONNECT blocked.test:PORT HTTP/1.1\r\nHost: a\r\n\r\n'])
def test_octets_one_by_one_are_judged_like_the_whole(house, octets):
    octets = house.fill(octets)
    client = connect(house.proxy)
    for at in range(len(octets)):
        client.sendall(octets[at:at + 1])
    client.shutdown(socket.SHUT_WR)
    assert statuses(read_all(client)) == '403' and house.reached == []
    client.close()

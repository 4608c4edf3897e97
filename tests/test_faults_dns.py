"""Name servers that hang, lie, or are gone: a real one, of the test, asked by the real resolver of a real process.

geproxy gets a resolv.conf of its own by a private mount namespace, and name servers have port 53: that takes root.
"""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import signal
import socket
import struct

import gevent
import pytest
from gevent.server import DatagramServer
from helpers import PATIENCE, ask, listening
from processes import Client, answering, folder, get, metric, run, running, wait_until, write

from geproxy.upstream.resolver import THREADS

pytestmark = pytest.mark.programs

HOST = '127.53.53.53'
ADDRESSES = {           # what is said of a name, by its first label
    b'good': ['127.0.0.1'], b'zero': ['0.0.0.0'], b'metadata': ['169.254.169.254'], b'multicast': ['224.0.0.1'],
    b'mapped': ['::ffff:169.254.169.254'], b'several': ['169.254.169.254', '127.0.0.1'],
}
INI = """
[timeouts]
dns = 1500ms
[upstream]
keep = 0
dns_keep_failed = 100ms
[admin]
listen = unix:FOLDER/admin.sock
"""


class NameServer(object):
    """A name server; what it does with a question, the first label of the name says."""

    def __init__(self):
        self.asked = []                 # names
        self.silent = False             # it answers nobody
        self.addresses = dict(ADDRESSES)
        self._server = None

    def start(self):
        """Be there."""
        self._server = DatagramServer((HOST, 53), self._serve)
        self._server.start()

    def stop(self):
        """Be gone."""
        self._server.stop(timeout=0.1)

    def _serve(self, question, peer):
        name = question[12:].partition(b'\0')[0]
        label = name[1:1 + ord(name[:1])]
        self.asked.append(label)
        kind = label.partition(b'-')[0]
        if self.silent or kind == b'hangs':
            return
        number, rest = question[:2], question[12:12 + len(name) + 5]
        if kind == b'garbage':
            self._server.sendto(number + b'\x81\x80' + os.urandom(40), peer)
            return
        if kind == b'mismatched':
            number, kind = struct.pack('!H', struct.unpack('!H', number)[0] ^ 1), b'good'
        wanted = struct.unpack('!H', rest[-4:-2])[0]
        answers = [socket.inet_pton(family, text) for text in self.addresses.get(kind, ())
                   for family in [socket.AF_INET6 if ':' in text else socket.AF_INET]
                   if wanted == (28 if ':' in text else 1)]
        self._server.sendto(b'%s\x81\x80\0\1%s\0\0\0\0%s%s' % (number, struct.pack('!H', len(answers)), rest, b''.join(
            b'\xc0\x0c%s\0\1\0\0\0\0%s%s' % (rest[-4:-2], struct.pack('!H', len(each)), each)
            for each in answers)), peer)


@pytest.fixture(scope='module')
def by():
    """The command that gives a process that resolv.conf."""
    if os.getuid() != 0:
        pytest.skip('not root: no port 53, no resolv.conf for one process')
    with folder() as here:
        path = os.path.join(here, 'resolv.conf')
        write(path, 'nameserver %s\noptions timeout:2 attempts:1\n' % HOST)
        command = ['unshare', '-m', '/bin/sh', '-c', 'mount --bind %s /etc/resolv.conf && exec "$@"' % path, 'sh']
        try:
            code = run(command + ['true']).popen.returncode
        except OSError:
            code = 'no unshare'
        if code != 0:
            pytest.skip('no mount namespace here (%s): no resolv.conf for one process' % code)
        yield command


@pytest.fixture
def names():
    """The name server."""
    server = NameServer()
    server.start()
    yield server
    server.stop()


@contextlib.contextmanager
def serving(by, **options):
    """An origin and a geproxy: (its place by a name, the Process)."""
    with listening(answering()) as place, running(INI, by=by, **options) as proxy:
        yield place, proxy


def question(name, place):
    """A request for the origin by that name."""
    return get((name, place[1]), more=b'Connection: close\r\n')


def test_more_hanging_names_than_threads_delay_no_other_client(by, names):
    with serving(by) as (place, proxy):
        assert ask(proxy.address, question('good-known.test', place)).endswith(b'fine')
        descriptors = metric(proxy, 'process_open_fds')
        hanging = [gevent.spawn(ask, proxy.address, question('hangs-%d.test' % number, place))
                   for number in range(THREADS + 20)]
        wait_until(lambda: metric(proxy, 'geproxy_dns_pending') >= THREADS, 'all threads to ask')
        for name in ('good-known.test', '127.0.0.1') * 5:
            assert ask(proxy.address, question(name, place)).endswith(b'fine')
        # A name that is not known yet, for another client; one of the hosts file, for the same.
        assert ask(proxy.address, question('good-new.test', place), client='127.0.0.2').endswith(b'fine')
        assert ask(proxy.address, question('localhost', place)).endswith(b'fine')
        assert not any(each.ready() for each in hanging)
        assert metric(proxy, 'geproxy_dns_pending') >= THREADS
        # They are told, in their time, and each by the limit that it met.
        gevent.joinall(hanging, timeout=PATIENCE)
        for each in hanging:
            assert each.value.startswith(b"HTTP/1.1 504 ") and b'; error=dns_timeout; ' in each.value
        proxy.wait_for(br"GET http://hangs-0\.test:\d+/ 504 .* dns_timeout", 'out')
        # New names are known again as soon as threads are.
        wait_until(lambda: ask(proxy.address, question('good-newer.test', place)).endswith(b'fine'), 'a thread')
        wait_until(lambda: not metric(proxy, 'geproxy_dns_pending'), 'the threads')
        wait_until(lambda: metric(proxy, 'process_open_fds') <= descriptors, 'the descriptors')
        assert b'Traceback' not in proxy.err


def test_names_that_hang_delay_no_stop(by, names):
    # The threads that ask hang three times longer than anybody here waits.
    with serving(by, more_env={'RES_OPTIONS': 'timeout:30 attempts:1'}) as (place, proxy):
        hanging = [gevent.spawn(ask, proxy.address, question('hangs-%d.test' % number, place)) for number in range(5)]
        wait_until(lambda: metric(proxy, 'geproxy_dns_pending') == 5, 'the questions')
        proxy.tell(signal.SIGTERM)
        gevent.joinall(hanging, timeout=PATIENCE)
        assert [each.value[9:12] for each in hanging] == [b'504'] * 5
        assert proxy.wait() == 0


@pytest.mark.parametrize('name', ['zero', 'metadata', 'multicast', 'mapped'])
def test_a_name_of_a_forbidden_address_is_refused(by, names, lying, name):
    place, proxy = lying
    response = ask(proxy.address, question(name + '.test', place))
    assert response.startswith(b'HTTP/1.1 403 ') and b'destination_ip_prohibited' in response


@pytest.fixture(scope='module')
def lying(by):
    """An origin and a geproxy, for several tests."""
    with serving(by) as both:
        yield both


@pytest.mark.parametrize('name, answers', [
    ('garbage', [b'502', b'504']), ('mismatched', [b'504']), ('several', [b'200']), ('good', [b'200']),
    ('nothing', [b'502']),
])
def test_an_invalid_answer_of_a_name_server_is_no_answer(by, names, lying, name, answers):
    place, proxy = lying
    assert ask(proxy.address, question(name + '.test', place))[9:12] in answers
    assert name.encode('ascii') in names.asked
    assert b'Traceback' not in proxy.err


def test_a_name_server_that_is_gone_and_comes_back(by, names):
    with serving(by) as (place, proxy), Client(proxy.address) as client:
        assert client.ask(get(('good-known.test', place[1]))).endswith(b'fine')
        names.stop()
        for name in ('good-one.test', 'good-two.test'):
            response = client.ask(get((name, place[1])))
            assert response.startswith(b'HTTP/1.1 50') and b'; error=dns_' in response
            assert client.ask(get(('good-known.test', place[1]))).endswith(b'fine')
        names.start()
        wait_until(lambda: client.ask(get(('good-one.test', place[1]))).endswith(b'fine'), 'the name server')


REBOUND = """
[access]
loopback = deny
allow_addresses = %s
rules =
    allow any .test
[upstream]
dns_keep = 100ms
"""


def own_address():
    """An address of this host that is not a loopback one; no packet is sent to find it."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.connect(('192.0.2.1', 9))
        return sock.getsockname()[0]
    except socket.error:
        return '127.0.0.1'
    finally:
        sock.close()


@pytest.mark.parametrize('way', ['GET', 'CONNECT'])
def test_a_name_that_was_good_and_leads_to_loopback_now_is_judged_anew(by, names, way):
    here = own_address()
    if here.startswith('127.'):
        pytest.skip('this host has no address but loopback')
    # Allowed, as a host in a container may have a special one only. The origin is at both: a connection to the wrong one would be answered.
    with listening(answering(), host='0.0.0.0') as (_host, port), running(INI + REBOUND % here, by=by) as proxy:
        def asked():
            name = b'rebinds.test:%d' % port
            if way == 'GET':
                return ask(proxy.address, question('rebinds.test', (None, port)))
            return ask(proxy.address, b'CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (name, name) + get((here, port)))
        for addresses, status in ([[here], b'200'], [['127.0.0.1'], b'403'], [['::1', '127.0.0.1'], b'403'], [[here], b'200'],
                                  [['::ffff:127.0.0.1'], b'403'], [['0.0.0.0'], b'403'], [['127.0.0.1', here], b'200']):
            names.addresses[b'rebinds'] = addresses
            before = len(names.asked)
            gevent.sleep(0.15)          # what is waited for is the end of what geproxy remembers
            response = asked()
            assert response[9:12] == status, (addresses, response)
            assert response.endswith(b'fine') == (status == b'200')
            assert (b'; error=destination_ip_prohibited; ' in response) == (status == b'403')
            assert len(names.asked) > before
        assert b'Traceback' not in proxy.err

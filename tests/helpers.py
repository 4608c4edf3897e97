"""Common parts of tests: an origin, a proxy, a client. Real sockets on loopback, no fakes."""
from __future__ import absolute_import, division, print_function

import contextlib
import random
import socket

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer

from geproxy import errors
from geproxy.net.stream import Stream
from geproxy.observe.record import NoMessage
from geproxy.service import listeners, server
from geproxy.settings import ini, loading, option_types

_given = set()          # ports, see free_port
_random = random.SystemRandom()         # no test library sets its seed

PATIENCE = 20       # seconds; a test that waits longer has failed

INI = '''
[access]
connect_ports = any
http_ports = any
'''


# What a Record needs of a request, and of a response: octets that no parser would let through may stand in these.
class Asked(NoMessage):
    """A request without fields."""

    def __init__(self, method, url, protocol):
        self.method, self.url, self.protocol = method, url, protocol


class Answered(NoMessage):
    """A response without fields."""

    def __init__(self, content_type):
        self.content_type = content_type


class Recorder(object):
    """Takes the place of log.Log, as an observer: remembers all that it gets."""

    def __init__(self):
        self.records, self.tunnels, self.said = [], [], []
        self._changed = Event()

    def ended(self, record):
        """An exchange has ended."""
        self.records.append(record)
        self._changed.set()

    def opened(self, record):
        """A tunnel has opened."""
        self.tunnels.append(record)
        self._changed.set()

    def say(self, text):
        """A message for the error log."""
        self.said.append(text)          # sets no event: the watchdog calls this in a native thread

    def troubles(self):
        """There are none."""
        return []

    def dropped(self):
        """No line was dropped."""
        return 0

    def wait(self, count=1):
        """Wait until `count` exchanges have ended. Return their records."""
        self.wait_until(lambda: len(self.records) >= count)
        return self.records

    def wait_until(self, condition):
        """Wait until `condition()` is true. Fail if that takes too long."""
        with gevent.Timeout(PATIENCE, AssertionError('waited in vain; records: %r' % [
                (record.status, record.reason, record.message) for record in self.records])):
            while not condition():
                self._changed.clear()
                self._changed.wait(0.05)


@contextlib.contextmanager
def listening(handle, host='127.0.0.1', port=0):
    """Run an origin, and give its (host, port).

    `handle(sock)` is called in a greenlet for each connection, which is closed when it returns. What it raises fails
    the test.
    """
    failures = []

    def serve(sock, _address):
        sock.settimeout(PATIENCE)
        try:
            handle(sock)
        except Exception as error:      # so that the test shows it, not only the terminal
            failures.append(error)
            raise
    pool = Pool()
    origin = StreamServer((host, port), serve, spawn=pool)
    origin.start()
    try:
        yield origin.address[:2]
        pool.join(timeout=0.5)          # let them end; some of them wait on purpose
    finally:
        origin.close()
        pool.kill()
    assert not failures, failures


@contextlib.contextmanager
def proxying(more='', host='127.0.0.1', listen_tls=False):
    """Run a proxy with the defaults, all ports allowed, and `more` lines of an ini file. `listen_tls`: True
    for a port that takes nothing but TLS.

    Gives its (host, port), and a Recorder that has the server.Server as `server`.
    """
    lines = []
    values = dict((entry[:2], entry) for entry in ini.read('', (INI + more).splitlines()) if entry.name)
    for (section, name), entry in sorted(values.items()):
        lines += ['[%s]' % section, name + ' ='] + ['  ' + line.text for line in entry.lines if line.text]
    settings = loading.load('test.ini', lines)
    sockets = listeners.open_all([option_types.Listener(host, 0, None, listen_tls)])
    recorder = Recorder()
    recorder.server = server.Server(None, settings, recorder, sockets, listeners.open_all(settings.admin.listen))
    recorder.server.start()
    address = sockets[0].getsockname()[:2]
    try:
        yield address, recorder
    finally:
        recorder.server.proxy.timeouts = settings.timeouts._replace(drain=0.01)
        handshake, server.HANDSHAKE = server.HANDSHAKE, 0      # no client is in the middle of connecting
        try:
            recorder.server.drain()
        finally:
            server.HANDSHAKE = handshake


def connect(address, client=None):
    """Return a socket connected to `address`. `client`: the address of this host that it connects from."""
    sock = socket.create_connection(address, PATIENCE, client and (client, 0))
    sock.settimeout(PATIENCE)
    return sock


def read_until(sock, mark):
    """Read up to `mark` or to the end, and return the octets. It may have read more than that."""
    data = b''
    while mark not in data:
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
    return data


def read_all(sock):
    """Read to the end, or to a reset, and return the octets."""
    data = b''
    try:
        while True:
            piece = sock.recv(65536)
            if not piece:
                return data
            data += piece
    except socket.timeout:
        raise
    except socket.error:
        return data


def ask(address, octets, client=None):
    """Send `octets`, end this direction, and return all octets that come back. `client`: as for `connect`."""
    sock = connect(address, client)
    try:
        sock.sendall(octets)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)
    finally:
        sock.close()


@contextlib.contextmanager
def stream_pair():
    """Give the Stream of a client, and the socket at its other end."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    other = connect(listener.getsockname())
    stream = Stream(listener.accept()[0], '127.0.0.1', errors.ClientLost)
    listener.close()
    try:
        yield stream, other
    finally:
        stream.close()
        other.close()


class Names(object):
    """Takes the place of resolver.Resolver: each name has these addresses."""

    def __init__(self, *addresses):
        self.addresses = list(addresses)
        self.asked = []

    def resolve(self, host, limit, client):
        """The addresses."""
        self.asked.append(host)
        return self.addresses

    def renew(self, host, addresses, since, limit, client):
        """None has changed."""
        return []


class Owner(object):
    """Takes the place of a Conversation: a client connection for which one to an origin is made."""

    def __init__(self, key='10.0.0.1'):
        self.key = key

    def reach(self, what):
        """Do nothing. `what`: as for Conversation.reach."""


def free_port():
    """Return a port of loopback that nobody listens on, for a program that has to be told one; never the same twice.

    It is below the ports that the kernel gives to connections, so none of those takes it before the program does.
    """
    while True:
        port = _random.randrange(12000, 32000)
        probe = socket.socket()
        try:
            probe.bind(('127.0.0.1', port))
        except socket.error:
            continue
        finally:
            probe.close()
        if port not in _given:
            _given.add(port)
            return port

"""The clients of a soak: they put a steady load on the proxy, and report each exchange to the Books (see checks.py).

Each exchange has a name of its own at the end of its path. An exchange without path comes from an address of its own in
127.0.0.0/8. So Linux only.
"""
from __future__ import absolute_import, division, print_function

import collections
import itertools
import re
import socket
import struct

import gevent
from checks import CUT, FAILED, GOOD, LEFT, RACED, Told
from geproxy.compat import native_poll
from origins import HOST, PIECE, SHORT, checksum

SILENCE = 30            # seconds without any octet; then the exchange has failed
ON_ONE = 200            # requests of a kept-alive client on one connection
LINGER = struct.pack('ii', 1, 0)        # for SO_LINGER: close() sends a reset

Job = collections.namedtuple('Job', 'name clients pause')       # seconds between two exchanges
JOBS = [Job(*row) for row in (
    ('kept', 3, 0.03), ('new', 3, 0.04), ('long', 2, 0.1), ('sized', 1, 0.2), ('chunked', 1, 0.2), ('tunnel', 2, 0.1),
    ('leaver', 1, 0.3), ('dying', 1, 0.3), ('gone', 1, 0.3), ('garbage', 1, 0.3), ('refused', 1, 0.3))]
ENDLESS = Job('endless', 1, 0.1)        # takes longer than any drain


class Broken(Exception):
    """The proxy did something wrong."""


class Closed(Exception):
    """The connection ended before the answer was complete."""


class Connection(object):
    """A connection to the proxy that counts its octets. `address`: of the proxy; `source`: own address, or None."""

    def __init__(self, address, source=None):
        self.socket = socket.create_connection(address, SILENCE, source and (source, 0))
        self.sent = self.received = 0           # of the exchange that is going on
        self.reused = False

    def begin(self):
        """Begin another exchange: count from zero."""
        self.reused = self.reused or bool(self.received)
        self.sent = self.received = 0

    def is_over(self):
        """Return true if the proxy has closed the connection, or sent something, between two exchanges."""
        poll = native_poll()            # gevent's would let other greenlets run before the request is sent
        poll.register(self.socket.fileno(), 1)      # POLLIN
        return bool(poll.poll(0))

    def send(self, octets):
        """Send all of `octets`."""
        self.socket.sendall(octets)
        self.sent += len(octets)

    def receive(self):
        """Return the next octets; b'' at the end."""
        data = self.socket.recv(65536)
        self.received += len(data)
        return data

    def response(self, slowly=lambda: None):
        """Read a response. Return (status, head, length of the body, its checksum). Raises Broken, Closed.

        `slowly`: a function that is called before each piece.
        """
        data = b''
        while b'\r\n\r\n' not in data:
            data += self._more()
        head, _, body = data.partition(b'\r\n\r\n')
        match = re.match(br'HTTP/1\.1 (\d+) .*', head)
        length = re.search(br'(?i)\r\nContent-Length: (\d+)', head)
        if not match or not length:
            raise Broken('not an HTTP response: %r' % data[:100])
        count, crc = len(body), checksum(body)
        while count < int(length.group(1)):
            slowly()
            body = self._more()
            count, crc = count + len(body), checksum(body, crc)
        return int(match.group(1)), head, count, crc

    def _more(self):
        data = self.receive()
        if not data:
            raise Closed('closed after %d octets of the answer' % self.received)
        return data

    def reset(self):
        """Close with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        self.socket.close()


class Load(object):
    """All clients. `scale`: seconds that a long exchange takes; `endless`: true for downloads longer than a drain."""

    def __init__(self, address, origin, books, scale, endless):
        self._address, self._books, self._scale = address, books, scale
        self._web = b'%s:%d' % (HOST.encode('ascii'), origin.web)
        self._echo = b'%s:%d' % (HOST.encode('ascii'), origin.echo)
        self._numbers = itertools.count(1)
        self._over = False
        self.closed_idle = self.asked_to_close = 0      # kept connections: closed without, and with Connection: close
        self._jobs = JOBS + [ENDLESS] * bool(endless)
        self._greenlets = []

    def start(self):
        """Start all clients."""
        self._over = False
        self._greenlets = [gevent.spawn(self._repeat, job) for job in self._jobs for _ in range(job.clients)]

    def stop(self):
        """Begin no exchange any more, and wait for those that have begun."""
        self._over = True
        gevent.joinall(self._greenlets, timeout=SILENCE + 4 * self._scale)
        stuck = sum(not greenlet.ready() for greenlet in self._greenlets)
        if stuck:
            self._books.problem('%d clients are stuck' % stuck)
        gevent.killall(self._greenlets)
        for greenlet in self._greenlets:
            if greenlet.exception is not None:
                self._books.problem('a client died, a bug of the load: %r' % greenlet.exception)

    def _repeat(self, job):
        while not self._over:
            getattr(self, '_' + job.name)(job.name)
            gevent.sleep(job.pause)

    # --- what all exchanges have in common

    def _path(self, task):
        """Return (a new path for a task of the origin, the name at its end)."""
        name = 'x%d' % next(self._numbers)
        return task + b'/' + name.encode('ascii'), name

    def _source(self):
        """Return an address for one connection."""
        number = next(self._numbers)
        return '127.%d.%d.%d' % (16 + (number >> 16), number >> 8 & 255, number & 255)

    def _request(self, method, path, more=b''):
        return b'%s http://%s/%s HTTP/1.1\r\nHost: %s\r\n%s\r\n' % (method, self._web, path, self._web, more)

    def _judge(self, kind, key, connection, exchange, status=200, broken=FAILED):
        """Do `exchange()` and report it. Return true if the connection can be used again.

        `broken`: the outcome if the answer ends in the middle.
        """
        outcome, why = GOOD, ''
        try:
            got = exchange()
            if got != status:
                outcome, why = FAILED, '%s instead of %s' % (got, status)
        except Broken as error:
            outcome, why = FAILED, '%s' % error
        except (Closed, socket.error) as error:
            outcome, why = broken, '%s: %s' % (type(error).__name__, error)
            if connection.reused and not connection.received:
                outcome = RACED
        self._books.tell(key, Told(kind, outcome, status, connection.sent, connection.received, why))
        return outcome == GOOD

    def _once(self, kind, key, exchange, source=None, **more):
        """Do `exchange(connection)` on a new connection, and report it."""
        try:
            connection = Connection(self._address, source)
        except socket.error as error:
            self._books.tell(key, Told(kind, FAILED, 0, 0, 0, 'no connection: %s' % error))
            return
        try:
            self._judge(kind, key, connection, lambda: exchange(connection), **more)
        finally:
            connection.socket.close()

    # --- the jobs

    def probe(self, host, status):
        """Send one request to `host` (octets), and check only the status."""
        path, name = self._path(b'short')
        request = self._request(b'GET', path).replace(HOST.encode('ascii'), host)
        self._once('probe', name, _asking(request), status=status)

    def _new(self, kind):
        path, name = self._path(b'short')
        self._once(kind, name, _asking(self._request(b'GET', path, b'Connection: close\r\n'), SHORT))

    def _long(self, kind):
        tenths = int(self._scale * 10)
        path, name = self._path(b'long/%d' % tenths)
        self._once(kind, name, _asking(self._request(b'GET', path), PIECE * tenths))

    def _dying(self, kind):
        path, name = self._path(b'die')

        def exchange(connection):
            try:
                return _asking(self._request(b'GET', path))(connection)
            except Closed:
                return 200              # right: the answer does not look complete
            finally:
                connection.socket.close()
        self._once(kind, name, exchange)

    def _gone(self, kind):
        path, name = self._path(b'gone')
        self._once(kind, name, _asking(self._request(b'GET', path)), status=502)

    def _refused(self, kind):
        path, name = self._path(b'short')
        self._once(kind, name, _asking(self._request(b'GET', path).replace(b'127.0.0.1', b'127.66.0.1')), status=403)

    def _garbage(self, kind):
        source = self._source()
        self._once(kind, source, _asking(b'\x00\xff nonsense\r\n\r\n'), source=source, status=400)

    def _kept(self, kind):
        """Send many requests on one connection, until it is closed."""
        connection = None
        for _ in range(ON_ONE):
            if self._over:
                break
            path, name = self._path(b'short')
            if connection is None or connection.is_over():
                self.closed_idle += connection is not None
                try:
                    connection = Connection(self._address)
                except socket.error as error:
                    self._books.tell(name, Told(kind, FAILED, 0, 0, 0, 'no connection: %s' % error))
                    break
            connection.begin()
            closing = []
            if not self._judge(kind, name, connection, lambda: _keep_asking(
                    connection, self._request(b'GET', path), closing)):
                break
            if closing:
                self.asked_to_close += 1
                break
            gevent.sleep(0.03)
        if connection is not None:
            connection.socket.close()

    def _sized(self, kind):
        self._upload(kind, b'Content-Length: %d\r\n' % (20 * 16384), lambda piece: piece, b'')

    def _chunked(self, kind):
        self._upload(kind, b'Transfer-Encoding: chunked\r\n',
                     lambda piece: b'%x\r\n%s\r\n' % (len(piece), piece), b'0\r\n\r\n')

    def _upload(self, kind, framing, dress, end):
        path, name = self._path(b'take')
        piece = (name.encode('ascii') + b'.' * 16384)[:16384]
        wanted = b'%d %d' % (20 * len(piece), checksum(piece * 20))

        def exchange(connection):
            connection.send(self._request(b'PUT', path, framing))
            for _ in range(20):
                connection.send(dress(piece))
                gevent.sleep(self._scale / 20)
            connection.send(end)
            status, _head, count, crc = connection.response()
            if (count, crc) != (len(wanted), checksum(wanted)):
                raise Broken('the origin got other octets than the client sent')
            return status
        self._once(kind, name, exchange)

    def _tunnel(self, kind):
        source = self._source()

        def exchange(connection):
            connection.send(b'CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (self._echo, self._echo))
            head = connection.receive()
            if not head.startswith(b'HTTP/1.1 200 ') or not head.endswith(b'\r\n\r\n'):
                raise Broken('no tunnel: %r' % head[:100])
            for number in range(10):
                block = b'%d,' % number * (20 if number % 2 else 20000)
                _send_and_see(connection, block)
                gevent.sleep(self._scale / 10)
            connection.socket.shutdown(socket.SHUT_WR)
            if connection.receive():
                raise Broken('more came out of the tunnel than went in')
            return 200
        self._once(kind, source, exchange, source=source)

    def _leaver(self, kind):
        """Leave in the middle of an answer or of a request head."""
        path, name = self._path(b'long/20')
        if next(self._numbers) % 2:
            self._leave(kind, name, None, self._request(b'GET', path), waits=True)
        else:
            source = self._source()
            self._leave(kind, source, source, b'GET http://', waits=False)

    def _leave(self, kind, key, source, octets, waits):
        def exchange(connection):
            connection.send(octets)
            if waits:
                connection.receive()
            else:
                gevent.sleep(0.05)
            connection.reset()
            raise Closed()
        self._once(kind, key, exchange, source=source, broken=LEFT)

    def _endless(self, kind):
        """Download something that lasts longer than the drain: it is cut, or this client leaves at the end."""
        path, name = self._path(b'long/%d' % max(300, 120 * self._scale))
        left = []

        def look():
            if self._over:
                left.append(True)
                raise Closed()

        def exchange(connection):
            try:
                connection.send(self._request(b'GET', path))
                return connection.response(look)[0]
            except Closed:
                if left:
                    connection.reset()
                raise
        try:
            self._cut_or_left(kind, name, exchange, left)
        except socket.error as error:
            self._books.tell(name, Told(kind, FAILED, 0, 0, 0, 'no connection: %s' % error))

    def _cut_or_left(self, kind, name, exchange, left):
        connection = Connection(self._address)
        outcome, why = GOOD, ''
        try:
            exchange(connection)
        except (Closed, Broken, socket.error) as error:
            outcome, why = (LEFT if left else CUT), '%r' % error
        finally:
            connection.socket.close()
        self._books.tell(name, Told(kind, outcome, 200, connection.sent, connection.received, why))


def _asking(request, wanted=None):
    """Return a function of a Connection that sends `request` and returns the status. `wanted`: the body of a 200."""
    def exchange(connection):
        connection.send(request)
        status, _head, count, crc = connection.response()
        if wanted is not None and status == 200 and (count, crc) != (len(wanted), checksum(wanted)):
            raise Broken('other octets came than the origin sent')
        return status
    return exchange


def _keep_asking(connection, request, closing):
    connection.send(request)
    status, head, count, crc = connection.response()
    if (count, crc) != (len(SHORT), checksum(SHORT)):
        raise Broken('other octets came than the origin sent: %r' % head)
    if b'\r\nconnection: close' in head.lower():
        closing.append(True)
    return status


def _send_and_see(connection, block):
    """Send octets through a tunnel to the echo, and check that they come back."""
    sending = gevent.spawn(connection.send, block)
    try:
        back = b''
        while len(back) < len(block):
            piece = connection.receive()
            if not piece:
                raise Closed('the tunnel ended after %d octets' % connection.received)
            back += piece
        sending.get()
    finally:
        sending.kill()
    if back != block:
        raise Broken('other octets came out of the tunnel than went in')

"""The admin listener: health, metrics, the live view, and an end to what must end. Never by way of the proxy.

A server for a handful of HTTP requests of those who run the proxy, on its own parser; each connection carries one. It
answers as long as the process lives, the drain included. What it shows is read when it is asked for.
"""
from __future__ import absolute_import, division, print_function

import binascii
import collections
import contextlib
import functools
import json
import os
import re
import socket
import traceback

import gevent

from geproxy import __version__, errors
from geproxy.admin import status
from geproxy.compat import monotonic, to_native, to_octets
from geproxy.exchange import strangers
from geproxy.http1 import chunks, reading
from geproxy.limits import rates
from geproxy.net import unix_sockets, workers
from geproxy.net.address import is_ip, parse_ip, show_ip, unmap, within
from geproxy.net.deadlines import TimeLimit
from geproxy.net.stream import Stream
from geproxy.observe import metrics, subscribers

QUICK = 20              # connections at once that ask for something; for one more, the oldest is closed
WATCHERS = 30           # ... and that watch
MOST = 60               # ... and all together, with those that are told to end and have not yet
HEAD_SIZE = 8192        # octets
HEAD = TimeLimit('head', 5.0, errors.HeadTimeout)
TAKE = TimeLimit('body', 30.0, errors.DownloadTimeout)      # for a watcher that takes nothing
BRIEFLY = 1.0           # seconds, to linger and to close
MOMENT = 0.02           # seconds between two looks whether all is said
GLANCE = 0.25           # seconds between two looks whether a watcher has left
GATHER = 0.05           # seconds that events gather: one piece for many is far cheaper than one for each
ROWS = 100              # connections that are shown in one go; in between, others have their turn

PLAIN, LINES = 'text/plain; charset=utf-8', 'application/x-ndjson'
REASONS = {200: b'OK', 400: b'Bad Request', 403: b'Forbidden', 404: b'Not Found', 405: b'Method Not Allowed',
           409: b'Conflict', 503: b'Service Unavailable'}
# In each answer: nobody keeps it, and no page of others gets at it, by a frame or as what it is not.
ALWAYS = (b'Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n'
          b"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
          b'Cross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n')
FROM_HERE = frozenset((b'none', b'same-origin'))        # values of Sec-Fetch-Site: typed by a person, or from here
_find_id = re.compile(br'id=([A-Za-z0-9-]{1,40})\Z').match

Answer = collections.namedtuple('Answer', 'status type body more')      # body: native text, or a generator of it


class Admin(object):
    """The admin listeners of a process, and what is counted for them."""

    def __init__(self, server, sockets, make_acceptor):
        """`server`: the server.Server; `sockets`: listening; `make_acceptor`: of a socket and a function that serves a
        connection of it makes a StreamServer."""
        self.metrics = metrics.Metrics()
        self.observer = subscribers.Observer(server.log, self.metrics)
        self._server = server
        self._acceptors = [make_acceptor(sock, self._serve) for sock in sockets]
        self._paths = [unix_sockets.path_of(sock) for sock in sockets if sock.family == socket.AF_UNIX]
        self.places = ['unix:' + path for path in self._paths] + [
            status.show_place(sock.getsockname()[:2]) for sock in sockets if sock.family != socket.AF_UNIX]
        # For those that ask at several addresses, and would count it twice. The process id would not do: containers
        # have the same.
        self._name = binascii.hexlify(os.urandom(8))
        self._greenlets = set()
        # {greenlet: Stream}, the oldest first: of those that have not sent their request yet, and of those that are
        # answered. A greenlet of a watcher is in neither.
        self._silent, self._answered = collections.OrderedDict(), collections.OrderedDict()
        self._watchers = 0
        self.strangers = strangers.Strangers('admin')
        self._closing = False

    def start(self):
        """Begin to answer."""
        for acceptor in self._acceptors:
            acceptor.start()

    def close(self):
        """Answer nobody anew, let those who watch have what is left, and end."""
        self._closing = True
        for acceptor in self._acceptors:
            acceptor.close()
        for path in self._paths:
            unix_sockets.remove(path)
        deadline = monotonic() + BRIEFLY
        while self._greenlets and monotonic() < deadline:
            gevent.sleep(MOMENT)        # not joined: they go on to other work when this is done
        for greenlet in list(self._greenlets):
            workers.interrupt(functools.partial(self._ending, greenlet))
        gevent.sleep(0)

    def _ending(self, greenlet):
        return (greenlet, gevent.GreenletExit()) if greenlet in self._greenlets else None

    def counted(self):
        """The values of the counters."""
        under_way = [status.octets(handler) for handler in self._server.live]
        return self.metrics.values(sum(received for received, _sent in under_way), sum(sent for _, sent in under_way),
                                   *self._server.proxy.upstream.octets())

    # --- one connection

    def _serve(self, sock, peer):
        """The greenlet of one connection."""
        stream, by_path = Stream(sock, '', errors.ClientLost), sock.family == socket.AF_UNIX
        ip = None if by_path else unmap(parse_ip(peer[0]))
        if not by_path and not within(ip, self._server.proxy.settings.admin.clients):
            answer = _plain(403, 'client %s is not among [admin] clients' % show_ip(ip))
            self.strangers.turn_away(stream, rates.key_of(
                None, show_ip(ip), self._server.proxy.limits.ipv6_prefix), lambda octets, _id: _whole(
                answer, octets[:5] == b'HEAD '))
            return
        self._make_room()
        if len(self._greenlets) >= MOST:
            stream.close()
            return
        greenlet = gevent.getcurrent()
        self._greenlets.add(greenlet)
        self._silent[greenlet] = stream
        try:
            self._respond(stream, by_path)
            stream.linger(BRIEFLY)
        except (errors.ClientLost, errors.DownloadTimeout):
            pass                        # nobody is there to be told
        except Exception:
            self._server.log.say('admin: a bug, please report it:\n' + traceback.format_exc())
        finally:
            stream.close()
            for places in (self._silent, self._answered):
                places.pop(greenlet, None)
            self._greenlets.discard(greenlet)

    def _make_room(self):
        """End the oldest connection, a silent one first, if too many ask for something. A health check is over at
        once."""
        if len(self._silent) + len(self._answered) >= QUICK:
            _greenlet, stream = (self._silent or self._answered).popitem(last=False)
            stream.wake()

    def _respond(self, stream, by_path):
        version, bodiless = (1, 1), False
        try:
            request = _read_request(stream)
            if self._silent.pop(gevent.getcurrent(), None) is None:
                raise errors.ClientLost('others needed its place')
            self._answered[gevent.getcurrent()] = stream
            version, bodiless = request.version, request.method == b'HEAD'
            answer = self._refusal(request, by_path) or self._answer(request, stream)
        except errors.ClientLost:
            raise
        except errors.ProxyError as error:
            answer = _plain(400, str(error))
        more = b'Geproxy-Process: %s\r\n%s' % (self._name, answer.more)
        _send(stream, answer._replace(more=more), version, bodiless)

    def _refusal(self, request, by_path):
        """The Answer for a browser that was sent here; None for others. `by_path`: it came by a socket in the file
        system, which no browser can."""
        if by_path:
            return None
        # A name may be anybody's, who makes it lead here and then asks from within a browser (DNS rebinding); and a
        # browser says by Origin or, where it has none, by Sec-Fetch-Site on whose behalf it sends.
        host, sites = to_native(request.authority.host), request.values(b'sec-fetch-site')
        if host != 'localhost' and not is_ip(host) or request.values(b'origin') or not set(sites) <= FROM_HERE:
            return _plain(403, 'ask by an address or as localhost, and not from a page of others')
        return None

    def _answer(self, request, stream):
        path, _, query = request.path.partition(b'?') if request.form == 'origin' else (b'', b'', b'')
        if path not in PAGES:
            return _plain(404, 'there are: %s' % ' '.join(to_native(each) for each in sorted(PAGES)))
        methods, page = PAGES[path]
        if request.method not in methods:
            return _plain(405, 'it takes %s' % to_native(b' or '.join(methods)), b'Allow: %s\r\n' % b', '.join(methods))
        return page(self, query, stream)

    # --- pages: functions of the query and the Stream

    def _healthy(self, _query, _stream):
        return _plain(200, 'healthy')

    def _ready(self, _query, _stream):
        try:
            if self._server.draining:
                raise errors.Full('draining')
            self._server.check_room()
        except errors.Full as error:
            return _plain(503, '%s' % error)
        return _plain(200, 'ready')

    def _metrics(self, _query, _stream):
        values = dict(status.figures(self._server), **self.counted())
        return Answer(200, 'text/plain; version=0.0.4; charset=utf-8', metrics.exposition(values), b'')

    def _connections(self, _query, _stream):
        return Answer(200, LINES, self._rows(), b'')

    def _rows(self):
        """First the process, then each of its connections, the oldest first; as JSON lines, some at a time."""
        server = self._server
        yield json.dumps(collections.OrderedDict((
            ('pid', os.getpid()), ('version', __version__), ('name', server.proxy.name),
            ('draining', server.draining), ('connections', len(server.live)),
            ('limit', server.proxy.limits.connections), ('accepted', server.accepted)))) + '\n'
        handlers = sorted(server.live, key=lambda handler: handler.number)
        for at in range(0, len(handlers), ROWS):
            yield ''.join(json.dumps(status.row(handler, self._shows_queries())) + '\n'
                          for handler in handlers[at:at + ROWS] if handler in server.live)

    def _shows_queries(self):
        return self._server.proxy.settings.log.query != 'off'

    def _kill(self, query, _stream):
        match = _find_id(query)
        if match is None:
            return _plain(400, 'it takes ?id=ID, of a connection or a request')
        name = to_native(match.group(1))
        handler = status.find(self._server.live, name)
        if handler is None:
            return _plain(404, 'no connection has the id %s' % name)
        client = handler.view().client
        self._server.end([handler], errors.Killed('ended by the operator of the proxy'))
        self._server.log.say('connection %s of %s: killed' % (name, client))
        return _plain(200, 'killed')

    def _reload(self, query, _stream):
        if query not in (b'', b'dry-run'):
            return _plain(400, 'it takes nothing, or ?dry-run')
        outcome = self._server.reload('reload', dry_run=bool(query))
        found = collections.OrderedDict((
            ('pid', os.getpid()), ('path', self._server.reloads.path), ('good', outcome.good),
            ('lines', outcome.lines)))
        return Answer(200 if outcome.good else 409, LINES, json.dumps(found) + '\n', b'')

    def _tail(self, _query, stream):
        if self._watchers >= WATCHERS:
            return _plain(503, '%d watch already' % self._watchers)
        return Answer(200, LINES, self._events(stream), b'')

    def _events(self, stream):
        """The lines for one watcher, as they come, to the end of either. From when the head was sent on."""
        watcher = self.observer.watch(self._shows_queries())
        self._answered.pop(gevent.getcurrent(), None)       # a watcher stays, and takes the place of no other
        self._watchers += 1
        try:
            while not self._closing and stream.is_quiet():
                if watcher.arrived.wait(GLANCE):
                    gevent.sleep(GATHER)
                    yield ''.join(line + '\n' for line in watcher.take())
            yield ''.join(line + '\n' for line in watcher.take())
        finally:
            self._watchers -= 1
            self.observer.unwatch(watcher)


_READ, _WRITE = (b'GET', b'HEAD'), (b'POST',)
PAGES = {
    b'/-/healthy': (_READ, Admin._healthy),
    b'/healthz': (_READ, Admin._healthy),
    b'/-/ready': (_READ, Admin._ready),
    b'/readyz': (_READ, Admin._ready),
    b'/metrics': (_READ, Admin._metrics),
    b'/-/connections': (_READ, Admin._connections),
    b'/-/tail': ((b'GET',), Admin._tail),
    b'/-/kill': (_WRITE, Admin._kill),
    b'/-/reload': (_WRITE, Admin._reload),
}


def _plain(status, text, more=b''):
    """An Answer of one line of text; `more`: field lines."""
    return Answer(status, PLAIN, text + '\n', more)


def _read_request(stream):
    """Read a request head -> message.Request."""
    head = stream.read_head(HEAD_SIZE, HEAD, monotonic() + HEAD.seconds, reading.check_request_start)
    if head is None:
        raise errors.HeadTooLarge('the request head is larger than %d octets' % HEAD_SIZE)
    if not head:
        raise errors.ClientLost('the client ended the connection')
    line, _, fields = head.partition(b'\r\n')
    if line.endswith(b' HTTP/1.0') and b'\nhost:' not in b'\n' + fields.lower():
        head = head[:-2] + b'Host: localhost\r\n\r\n'      # HAProxy and others check health without Host
    request = reading.parse_request(head)
    if request.values(b'transfer-encoding') or list(request.values(b'content-length')) not in ([], [b'0']):
        raise errors.BadRequest('no request that is understood here has a body')
    return request


def _head(answer, framed):
    """The head of an Answer; `framed`: the field lines that say where its body ends."""
    return b'HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%s%s%s\r\n' % (
        answer.status, REASONS[answer.status], to_octets(answer.type), framed, answer.more, ALWAYS)


def _whole(answer, bodiless):
    """The octets of an Answer with a body of text; `bodiless`: only its head."""
    body = to_octets(answer.body)
    return _head(answer, b'Content-Length: %d\r\n' % len(body)) + (b'' if bodiless else body)


def _send(stream, answer, version, bodiless):
    """Send an Answer to a request of that version; `bodiless`: only its head."""
    if isinstance(answer.body, str):
        stream.send(_whole(answer, bodiless), TAKE)
        return
    chunked = version >= (1, 1)
    stream.send(_head(answer, b'Transfer-Encoding: chunked\r\n' if chunked else b''), TAKE)
    if bodiless:
        return
    with contextlib.closing(answer.body) as texts:
        for text in texts:
            octets = to_octets(text)
            if octets:
                stream.send(chunks.encode_chunk(octets) if chunked else octets, TAKE)
                gevent.sleep(0)         # others have their turn, however fast this one reads
    if chunked:
        stream.send(chunks.last_chunk(b''), TAKE)

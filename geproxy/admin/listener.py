"""The admin listener: its connections, its allowed clients, its limits. Its pages are in admin.endpoints.

Each connection carries one request. The listener answers as long as the process lives, also while the process is
stopping. Requests through the proxy cannot reach it.
"""
from __future__ import absolute_import, division, print_function

import binascii
import collections
import contextlib
import functools
import os
import socket
import traceback

import gevent

from geproxy import errors
from geproxy.admin import endpoints, status
from geproxy.compat import monotonic, to_octets
from geproxy.exchange import strangers
from geproxy.http1 import chunks, reading
from geproxy.limits import rates
from geproxy.net import unix_sockets, workers
from geproxy.net.address import parse_ip, show_ip, unmap, within
from geproxy.net.deadlines import TimeLimit
from geproxy.net.stream import Stream
from geproxy.observe import metrics
from geproxy.pages import table

QUICK = 20              # connections at once that ask for something; for one more, the oldest is closed
MOST = 60               # ... all together, with subscribers, and with those that are told to end and have not yet
HEAD_SIZE = 8192        # octets
HEAD = TimeLimit('head', 5.0, errors.HeadTimeout)
TAKE = TimeLimit('body', 30.0, errors.DownloadTimeout)      # for a peer that does not read
BRIEFLY = 1.0           # seconds, to linger and to close
MOMENT = 0.02           # seconds between two looks whether all connections have ended

# In each answer: no page of others gets at it, by a frame or as what it is not.
ALWAYS = (b"X-Frame-Options: DENY\r\nContent-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
          b'Cross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n')


class Admin(object):
    """The admin listeners of a process, and its metrics."""

    def __init__(self, server, sockets, make_acceptor):
        """Do not listen yet; see `start`.

        `server`: the server.Server; `sockets`: listening sockets; `make_acceptor`: a function of a socket and of a
        function that serves a connection; it returns an acceptor.Acceptor.
        """
        self.metrics = metrics.Metrics()
        server.observers.add(self.metrics)
        self.server = server
        self._acceptors = [make_acceptor(sock, self._serve) for sock in sockets]
        self._paths = [unix_sockets.path_of(sock) for sock in sockets if sock.family == socket.AF_UNIX]
        self.addresses = ['unix:' + path for path in self._paths] + [
            status.show_listener(sock.getsockname()[:2]) for sock in sockets if sock.family != socket.AF_UNIX]
        # For those that ask at several addresses, and would count it twice. The process id would not do: containers
        # have the same.
        self._always = b'Geproxy-Process: %s\r\n%s' % (binascii.hexlify(os.urandom(8)), ALWAYS)
        self._greenlets = set()
        # {greenlet: Stream}, the oldest first: of connections that have not sent their request yet, and of those that
        # are answered. The greenlet of a subscriber is in neither.
        self._silent, self._answered = collections.OrderedDict(), collections.OrderedDict()
        self.subscribers = 0                    # connections that get a stream of events now
        self.strangers = strangers.Strangers('admin')
        self.closing = False                    # true once the process ends: streams end, too

    def start(self):
        """Begin to answer."""
        for acceptor in self._acceptors:
            acceptor.start()

    def close(self):
        """Accept no more, let subscribers have the lines that wait, and end all connections within BRIEFLY seconds."""
        self.closing = True
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
        """Return the values of the counters, as metrics.Metrics.values does."""
        under_way = [status.octets(conversation) for conversation in self.server.live]
        return self.metrics.values(sum(received for received, _sent in under_way), sum(sent for _, sent in under_way),
                                   *self.server.proxy.upstream.octets())

    def begin_stream(self):
        """Count the connection of this greenlet as a subscriber: it is not closed to make room for others."""
        self._answered.pop(gevent.getcurrent(), None)
        self.subscribers += 1

    def end_stream(self):
        """Count one subscriber less."""
        self.subscribers -= 1

    # --- one connection

    def _serve(self, sock, peer):
        """The greenlet of one connection. `peer`: (address, port, ...), ignored for a socket in the file system."""
        stream, by_path = Stream(sock, '', errors.ClientLost), sock.family == socket.AF_UNIX
        ip = None if by_path else unmap(parse_ip(peer[0]))
        if not by_path and not within(ip, self.server.proxy.settings.admin.clients):
            answer = table.plain(403, 'client %s is not among [admin] clients' % show_ip(ip))
            self.strangers.turn_away(stream, rates.key_of(
                None, show_ip(ip), self.server.proxy.limits.ipv6_prefix), lambda octets, _id: table.whole(
                answer, octets[:5] == b'HEAD ', ALWAYS))
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
            pass                        # the client has left
        except Exception:
            self.server.log.say('admin: a bug, please report it:\n' + traceback.format_exc())
        finally:
            stream.close()
            for each in (self._silent, self._answered):
                each.pop(greenlet, None)
            self._greenlets.discard(greenlet)

    def _make_room(self):
        """End the oldest connection if there are too many, a silent one first. A health check is over at once."""
        if len(self._silent) + len(self._answered) >= QUICK:
            _greenlet, stream = (self._silent or self._answered).popitem(last=False)
            stream.shut_down()

    def _respond(self, stream, by_path):
        version, bodiless = (1, 1), False
        try:
            request = _read_request(stream)
            if self._silent.pop(gevent.getcurrent(), None) is None:
                raise errors.ClientLost('closed to make room for another connection')
            self._answered[gevent.getcurrent()] = stream
            version, bodiless = request.version, request.method == b'HEAD'
            answer = table.answer(endpoints.PAGES, request, endpoints.Visitor(self, stream, by_path))
        except errors.ClientLost:
            raise
        except errors.ProxyError as error:
            answer = table.plain(400, str(error))
        self._send(stream, answer, version, bodiless)

    def _send(self, stream, answer, version, bodiless):
        """Send an Answer to a request of that version; `bodiless`: only its head."""
        if isinstance(answer.body, str):
            stream.send(table.whole(answer, bodiless, self._always), TAKE)
            return
        chunked = version >= (1, 1)
        stream.send(table.head(answer, chunks.CHUNKED_LINE if chunked else b'', self._always), TAKE)
        if bodiless:
            return
        with contextlib.closing(answer.body) as texts:
            for text in texts:
                octets = to_octets(text)
                if octets:
                    stream.send(chunks.encode_chunk(octets) if chunked else octets, TAKE)
                    gevent.sleep(0)         # others have their turn, however fast this peer reads
        if chunked:
            stream.send(chunks.last_chunk(b''), TAKE)


def _read_request(stream):
    """Read a request head, and return it as a message.Request. May wait. Raises what the parser raises, and BadRequest
    for a request with a body."""
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
        raise errors.BadRequest('no page here takes a request with a body')
    return request

"""Our connections towards origins: each address judged as it is dialled, connected staggered, kept and used again.

Kept connections are shared by all clients. Does not answer clients; its failures are errors that say what was tried.
"""
from __future__ import absolute_import, division, print_function

import collections
import errno
import os
import socket

from geproxy import errors
from geproxy.compat import NativeSocket, monotonic, to_native
from geproxy.deadlines import wait_connected
from geproxy.stream import Stream, tune

STAGGER = 0.25      # seconds before the next address is tried beside the last (RFC 8305, 5)
_PENDING = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_CAUSES = (         # the error that a failed connect becomes, by errno; the first that any address gave counts
    (errors.ConnectTimeout, (errno.ETIMEDOUT,)),
    (errors.ConnectRefused, (errno.ECONNREFUSED, errno.ECONNRESET)),
    (errors.Full, _FULL),
)


class Connection(object):
    """A stream to an origin, and what its next user must know."""
    __slots__ = ('stream', 'key', 'address', 'took', 'kept', 'clean', 'parked')

    def __init__(self, stream, key, address, took):
        self.stream = stream
        self.key = key              # (host, port), as asked for
        self.address = address      # native text of what was dialled
        self.took = took            # seconds: (for the name, to connect)
        self.clean = False          # the exchange ended so that another may follow
        self.kept = False           # true if it served an exchange before
        self.parked = 0.0           # since when it is idle, in monotonic seconds


class Upstream(object):
    """One for the process: it outlives reloads, as its idle connections do."""

    def __init__(self, resolver, keep, keep_time):
        """`keep`: idle connections kept in all; `keep_time`: seconds each is kept."""
        self.resolver = resolver
        self.keep, self.keep_time = keep, keep_time
        self._idle = collections.OrderedDict()      # {Connection: None}, longest idle first
        self._by_key = {}                           # {key: [Connection]}, longest idle first
        self._open = set()                          # all Connections, the idle ones included
        self._received = self._sent = 0             # octets, of those that are closed

    def connect(self, key, judge, limits, reuse):
        """A Connection to `key`: (octets of the host, port). May wait. Who gets it releases or closes it.

        `judge`: a function of (address, port) that raises Denied; `limits`: Limits (dns, connect); `reuse`:
        a kept connection will do.
        Raises Denied, DnsError, DnsTimeout, ConnectRefused, ConnectTimeout, Unroutable, Full.
        """
        if reuse:
            connection = self._take(key, judge)
            if connection is not None:
                return connection
        host, port = key
        dns, connect = limits
        started = monotonic()
        addresses = self.resolver.resolve(host, dns)
        resolved = monotonic()
        allowed = _judged(addresses, port, judge)
        sock, address = Dial(to_native(host), allowed, port, connect).run()
        took = (resolved - started, monotonic() - resolved)
        connection = Connection(Stream(sock, address, errors.UpstreamLost), key, address, took)
        self._open.add(connection)
        return connection

    def release(self, connection):
        """Keep a connection if its exchange has ended cleanly, for the next one; close it otherwise."""
        stream = connection.stream
        if not connection.clean or not self.keep or stream.buffer or stream.ended:
            self._close(connection)
            return
        connection.clean, connection.kept, connection.parked = False, True, monotonic()
        self._idle[connection] = None
        self._by_key.setdefault(connection.key, []).append(connection)
        # Whatever comes now, nobody asked for it: mostly the origin's FIN.
        stream.reader.start(self._drop, connection)
        if len(self._idle) > self.keep:
            self.prune()

    @property
    def kept(self):
        """How many idle connections there are."""
        return len(self._idle)

    @property
    def connections(self):
        """How many connections there are, idle or not."""
        return len(self._open)

    def octets(self):
        """(received, sent), in all."""
        streams = [connection.stream for connection in self._open]
        return (self._received + sum(stream.received for stream in streams),
                self._sent + sum(stream.sent for stream in streams))

    def prune(self):
        """Close what is too much or too old."""
        oldest = monotonic() - self.keep_time
        while self._idle:
            connection = next(iter(self._idle))
            if len(self._idle) <= self.keep and connection.parked >= oldest:
                break
            self._drop(connection)

    def close_idle(self):
        """Close all kept connections."""
        for connection in list(self._idle):
            self._drop(connection)

    def _take(self, key, judge):
        while key in self._by_key:
            connection = self._by_key[key][-1]
            self._forget(connection)
            # By the rules of today, for this client: it may have been another's.
            try:
                judge(connection.address, key[1])
            except errors.Denied:
                self._close(connection)
                continue
            if connection.parked + self.keep_time >= monotonic() and connection.stream.is_quiet():
                return connection
            self._close(connection)
        return None

    def _forget(self, connection):
        connection.stream.reader.stop()
        del self._idle[connection]
        siblings = self._by_key[connection.key]
        if siblings[-1] is connection:
            siblings.pop()
        else:
            siblings.remove(connection)
        if not siblings:
            del self._by_key[connection.key]

    def _drop(self, connection):
        self._forget(connection)
        self._close(connection)

    def _close(self, connection):
        self._open.discard(connection)
        self._received += connection.stream.received
        self._sent += connection.stream.sent
        connection.stream.close()


def _judged(addresses, port, judge):
    """Those of `addresses` that may be dialled; raises the last Denied if there is none."""
    allowed, denied = [], None
    for address in addresses:
        try:
            judge(address, port)
            allowed.append(address)
        except errors.Denied as error:
            denied = error
    if not allowed:
        raise denied or errors.DnsError('there is no address')
    return allowed


class Dial(object):
    """One attempt to reach any of several addresses, staggered, within one budget (RFC 8305, 5)."""

    def __init__(self, host, addresses, port, limit):
        self._host, self._port, self._limit = host, port, limit
        self._waiting = list(addresses)
        self._dialling = {}             # {socket: address}
        self._failed = []               # [(address, errno)]

    def run(self):
        """The first (socket, address) that is connected. May wait; raises as Upstream.connect does."""
        deadline = monotonic() + self._limit.seconds
        try:
            while self._waiting or self._dialling:
                if self._waiting:
                    connected = self._start(self._waiting.pop(0))
                    if connected is not None:
                        return connected
                while self._dialling:
                    turn = min(deadline, monotonic() + STAGGER) if self._waiting else deadline
                    settled = wait_connected(list(self._dialling), turn)
                    if settled is None:
                        break
                    address = self._dialling.pop(settled)
                    code = settled.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        return settled, address
                    self._fail(settled, address, code)
                    if self._waiting:
                        break           # its turn comes at once
                if monotonic() >= deadline:
                    break
            raise self._error()
        finally:
            for sock in self._dialling:
                sock.close()

    def _start(self, address):
        """Begin to connect -> (socket, address) if that is settled at once, else None."""
        try:
            sock = NativeSocket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_STREAM)
        except socket.error as error:
            self._failed.append((address, error.args[0]))
            return None
        sock.setblocking(False)
        tune(sock)
        code = sock.connect_ex((address, self._port))
        if code in _PENDING:
            # On this very host it is settled by now: a system call more, and a wait with its three less.
            code = sock.connect_ex((address, self._port))
        if not code or code == errno.EISCONN:
            return sock, address
        if code in _PENDING:
            self._dialling[sock] = address
        else:
            self._fail(sock, address, code)
        return None

    def _fail(self, sock, address, code):
        sock.close()
        self._failed.append((address, code))

    def _error(self):
        """What all the failures amount to, as one error that lists what was tried."""
        tried = [(address, errno.ETIMEDOUT) for address in self._dialling.values()] + self._failed
        what = "'%s' port %d: " % (self._host, self._port)
        what += ', '.join('%s %s' % (address, self._describe(code)) for address, code in tried)
        if self._waiting:
            what += ', and no time for %d more' % len(self._waiting)
        codes = set(code for _address, code in tried)
        for cause, numbers in _CAUSES:
            if codes & set(numbers):
                return cause(what)
        return errors.Unroutable(what)

    def _describe(self, code):
        if code == errno.ETIMEDOUT:
            return 'did not answer within %.3g s' % self._limit.seconds
        return os.strerror(code).lower()

"""Our connections towards origins: each address judged as it is dialled, connected staggered, kept and used again.

What a connection has carried decides who may use it next. Most are kept for all clients. One that is logged in (NTLM,
Negotiate) belongs to the client connection that logged it in. One that has carried a request body is closed: an origin
that did not read that body takes it for the next request. Does not answer clients; its failures are errors that say
what was tried.
"""
from __future__ import absolute_import, division, print_function

import collections
import errno
import os
import socket

from geproxy import errors
from geproxy.compat import NativeSocket, monotonic, to_native
from geproxy.net.deadlines import wait_connected
from geproxy.net.stream import Stream, tune

STAGGER = 0.25      # seconds before the next address is tried beside the last (RFC 8305, 5)
SHED = 16           # idle connections that are closed when there are no file descriptors left
AT_ONCE = 4         # attempts of one request at the same time; each holds a file descriptor
SHOWN = 4           # addresses that a message lists
OWNED_EACH = 4      # logged-in connections of one client connection; the one that was idle for longest goes
_PENDING = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_CAUSES = (         # the error that a failed connect becomes, by errno; the first that any address gave counts
    (errors.ConnectTimeout, (errno.ETIMEDOUT,)),
    (errors.ConnectRefused, (errno.ECONNREFUSED, errno.ECONNRESET)),
    (errors.Full, _FULL),
)


class Connection(object):
    """A stream to an origin, and what its next user must know."""
    __slots__ = ('stream', 'key', 'address', 'took', 'kept', 'clean', 'parked', 'bodies', 'logged_in', 'owner')

    def __init__(self, stream, key, address, took):
        self.stream = stream
        self.key = key              # (host, port), as asked for
        self.address = address      # native text of what was dialled
        self.took = took            # seconds: (for the name, to connect)
        self.clean = False          # the exchange ended so that another may follow
        self.kept = False           # true if it served an exchange before
        self.parked = 0.0           # since when it is idle, in monotonic seconds
        self.bodies = False         # it has carried octets of a request body
        self.logged_in = False      # what comes on it may be taken for what a certain user asks for
        self.owner = None           # (owner, its key) while it is idle and belongs to one client connection


class Upstream(object):
    """One for the process: it outlives reloads, as its idle connections do."""

    def __init__(self, resolver, keep, keep_time):
        """`keep`: idle connections kept in all; `keep_time`: seconds each is kept."""
        self.resolver = resolver
        self.keep, self.keep_time = keep, keep_time
        self._idle = collections.OrderedDict()      # {Connection: None}, longest idle first
        self._by_key = {}                           # {key: [Connection]}, longest idle first
        self._owned = {}                            # {owner: OrderedDict of {(its key, key): Connection}}, idle ones
        self._owned_idle = collections.OrderedDict()    # {Connection: itself} of these, longest idle first
        self._open = set()                          # all Connections, the idle ones included
        self._received = self._sent = 0             # octets, of those that are closed

    def connect(self, key, judge, limits, reuse, owner):
        """A Connection to `key`: (octets of the host, port). May wait. Who gets it releases or closes it.

        `judge`: a function of (address, port) that raises Denied; `limits`: Limits (dns, connect); `reuse`: a kept
        connection will do; `owner`: a client connection: anything that can be a key of a dict. It has a `key`, as of
        limits.key_of, of who asks now, and its `reach` is called with what is going on: 'dns', 'connect', or ''.
        A connection that is logged in for this owner is used in any case.
        Raises Denied, DnsError, DnsTimeout, ConnectRefused, ConnectTimeout, Unroutable, Full.
        """
        connection = None
        if self._owned and owner in self._owned:
            connection = self._take_owned(key, judge, owner)
        if connection is None and reuse:
            connection = self._take(key, judge)
        return connection or self._reach(key, judge, limits, owner)

    def _reach(self, key, judge, limits, owner):
        """A new Connection."""
        try:
            sock, address, took = self._find(key, judge, limits, owner)
        finally:
            owner.reach('')
        connection = Connection(Stream(sock, address, errors.UpstreamLost), key, address, took)
        self._open.add(connection)
        return connection

    def _find(self, key, judge, limits, owner):
        """-> (socket, address, times) of what was reached."""
        host, port = key
        dns, connect = limits
        owner.reach('dns')
        started = monotonic()
        addresses = self.resolver.resolve(host, dns, owner.key)
        resolved = monotonic()
        owner.reach('connect')
        try:
            sock, address = self._dial(host, _judged(addresses, port, judge), port, connect)
        except (errors.ConnectRefused, errors.ConnectTimeout, errors.Unroutable) as error:
            # The name may have moved since it was looked up.
            owner.reach('dns')
            moved = self.resolver.renew(host, addresses, started, dns, owner.key)
            if not moved:
                raise error
            resolved = monotonic()
            owner.reach('connect')
            sock, address = self._dial(host, _judged(moved, port, judge), port, connect)
        return sock, address, (resolved - started, monotonic() - resolved)

    def _dial(self, host, addresses, port, limit):
        """-> (socket, address). Idle connections make room if file descriptors run short."""
        try:
            return Dial(to_native(host), addresses, port, limit).run()
        except errors.Full:
            if not self._idle:
                raise
            for connection in list(self._idle)[:SHED]:
                self._drop(connection)
            return Dial(to_native(host), addresses, port, limit).run()

    def release(self, connection, owner):
        """Keep a connection for the next exchange of those that may use it, if its last one has ended cleanly; close it
        otherwise. `owner`: as of `connect`."""
        stream = connection.stream
        if not connection.clean or stream.buffer or stream.ended or not connection.logged_in and (
                connection.bodies or not self.keep):
            self._close(connection)
            return
        connection.clean, connection.kept, connection.parked = False, True, monotonic()
        # Whatever comes now, nobody asked for it: mostly the origin's FIN.
        stream.reader.start(self._drop, connection)
        if connection.logged_in:
            self._own(connection, owner)
            return
        self._idle[connection] = None
        self._by_key.setdefault(connection.key, []).append(connection)
        if len(self._idle) > self.keep or self._owned:
            self.prune()

    def leave(self, owner):
        """An owner is no more: close what belongs to it."""
        if owner in self._owned:
            for connection in list(self._owned[owner].values()):
                self._drop(connection)

    def _own(self, connection, owner):
        """Keep it for that client connection, and for the user as whom it asks now."""
        mine = self._owned.setdefault(owner, collections.OrderedDict())
        name = (owner.key, connection.key)
        if name in mine:
            self._drop(mine[name])      # another one that was logged in before, and could not be used
            self._owned[owner] = mine
        connection.owner = owner, name
        mine[name] = self._owned_idle[connection] = connection
        # Never another owner's; but if `keep` has just become less, others may be over it, too: `prune` closes these.
        while len(mine) > OWNED_EACH or mine and not self._idle and not self._has_room():
            self._drop(next(iter(mine.values())))
        self.prune()

    def _take_owned(self, key, judge, owner):
        connection = self._owned[owner].get((owner.key, key))
        if connection is None:
            return None
        try:
            judge(connection.address, key[1])
        except errors.Denied:
            return None                 # by the rules of today; another address may do
        self._forget(connection)
        if connection.stream.is_quiet():
            return connection
        self._close(connection)
        return None

    @property
    def kept(self):
        """How many idle connections there are."""
        return len(self._idle) + len(self._owned_idle)

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
        """Close what is too much or too old.

        Each owner may have one that is logged in: each client connection has a file descriptor for its way to the
        origin. More of them take the room of the others, of which there are `keep`.
        """
        oldest = monotonic() - self.keep_time
        while self._idle:
            connection = next(iter(self._idle))
            if len(self._idle) <= self.keep and connection.parked >= oldest and self._has_room():
                break
            self._drop(connection)
        while not self._has_room():
            self._drop(next(iter(self._owned_idle)))

    def _has_room(self):
        return len(self._idle) + len(self._owned_idle) <= self.keep + len(self._owned)

    def close_idle(self):
        """Close all kept connections."""
        for connection in list(self._idle):
            self._drop(connection)
        for owner in list(self._owned):
            self.leave(owner)

    def _take(self, key, judge):
        for connection in reversed(self._by_key.get(key, ())):      # which only loses those that were looked at
            # By the rules of today, for this client: it may have been another's. A client that may not use it leaves it
            # to the others.
            try:
                judge(connection.address, key[1])
            except errors.Denied:
                continue
            self._forget(connection)
            if connection.parked + self.keep_time >= monotonic() and connection.stream.is_quiet():
                return connection
            self._close(connection)
        return None

    def _forget(self, connection):
        """It is not idle any more."""
        connection.stream.reader.stop()
        if connection.owner is not None:
            self._disown(connection)
            return
        del self._idle[connection]
        siblings = self._by_key[connection.key]
        if siblings[-1] is connection:
            siblings.pop()
        else:
            siblings.remove(connection)
        if not siblings:
            del self._by_key[connection.key]

    def _disown(self, connection):
        owner, name = connection.owner
        connection.owner = None
        del self._owned_idle[connection], self._owned[owner][name]
        if not self._owned[owner]:
            del self._owned[owner]

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
    """One attempt to reach any of several addresses, staggered, within one budget (RFC 8305, 5).

    Of more than AT_ONCE addresses, each has its part of the time before it makes room for another.
    """

    def __init__(self, host, addresses, port, limit):
        """`host`: native text, for messages; `addresses`: native texts; `limit`: the TimeLimit for all of them."""
        self._host, self._port, self._limit = host, port, limit
        self._waiting = list(addresses)
        self._count = len(addresses)
        self._dialling = {}             # {socket: (since when, address)}
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
                    settled = wait_connected(list(self._dialling), self._turn(deadline))
                    if settled is None:
                        break
                    _since, address = self._dialling.pop(settled)
                    code = settled.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        return settled, address
                    self._fail(settled, address, code)
                    if self._waiting:
                        break           # its turn comes at once
                if monotonic() >= deadline:
                    break
                if self._waiting and len(self._dialling) >= AT_ONCE:
                    sock = self._oldest()
                    self._fail(sock, self._dialling.pop(sock)[1], errno.ETIMEDOUT)
            raise self._error()
        finally:
            for sock in self._dialling:
                sock.close()

    def _turn(self, deadline):
        """When to stop waiting for those under way: it is the next one's turn."""
        if not self._waiting:
            return deadline
        if len(self._dialling) < AT_ONCE:
            return min(deadline, monotonic() + STAGGER)
        return min(deadline, self._dialling[self._oldest()][0] + self._part())

    def _oldest(self):
        """The socket that has been dialling for longest."""
        return min(self._dialling, key=self._dialling.get)

    def _part(self):
        """Seconds that each address has at least."""
        return self._limit.seconds * AT_ONCE / max(AT_ONCE, self._count)

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
            self._dialling[sock] = monotonic(), address
        else:
            self._fail(sock, address, code)
        return None

    def _fail(self, sock, address, code):
        sock.close()
        self._failed.append((address, code))

    def _error(self):
        """What all the failures amount to, as one error that lists what was tried."""
        tried = [(address, errno.ETIMEDOUT) for _since, address in sorted(self._dialling.values())] + self._failed
        what = '%s port %d: ' % (self._host, self._port)
        if len(tried) == 1 and not self._waiting:
            address, code = tried[0]
            what = '' if address == self._host else self._host + ', '
            what += '%s port %d: %s' % (address, self._port, self._describe(code))
        else:
            what += '; '.join('%s: %s' % (address, self._describe(code)) for address, code in tried[:SHOWN])
            if len(tried) > SHOWN:
                what += '; and %d more failed' % (len(tried) - SHOWN)
            if self._waiting:
                what += '; no time for %d more' % len(self._waiting)
        codes = set(code for _address, code in tried)
        for cause, numbers in _CAUSES:
            if codes & set(numbers):
                return cause(what)
        return errors.Unroutable(what)

    def _describe(self, code):
        if code == errno.ETIMEDOUT:
            return 'no answer within %.3g s' % self._part()
        return os.strerror(code).lower()

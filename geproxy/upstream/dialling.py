"""Makes new connections to origins: look up the name, check each address before it is dialled, connect, shake hands.

`Dialling.open` is the one place where a connection is made. Its steps, in order: the first hop of the route gives the
name to look up; `judge` removes addresses that may not be dialled; `Attempts` opens sockets to the others; `handshakes`
lead through the parents of the route to the target. Failures are errors that list what was tried.
"""
from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import sys

from geproxy import errors
from geproxy.compat import NativeSocket, monotonic, to_native
from geproxy.net.deadlines import wait_connected
from geproxy.net.stream import Stream, tune
from geproxy.upstream.handshakes import pass_through

STAGGER = 0.25      # seconds before the next address is tried beside the last one (RFC 8305, 5)
AT_ONCE = 4         # attempts of one request at the same time; each holds a file descriptor
SHOWN = 4           # addresses that a message lists
_PENDING = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NO_SOURCE = 0      # in the place of an errno: there is no source address of that IP version
# If the system has this option, a socket that is bound to an address shares its ports with sockets to other
# destinations: else an address has no more connections than ports. Its number is that of Linux (ip(7), since 4.2).
_BIND_ADDRESS_NO_PORT = 24
_CAUSES = (         # the error that a failed connect becomes, by errno; the first row that matches any address counts
    (errors.ConnectTimeout, (errno.ETIMEDOUT,)),
    (errors.ConnectRefused, (errno.ECONNREFUSED, errno.ECONNRESET)),
    (errors.Full, _FULL),
    (errors.HostUnreachable, (errno.EHOSTUNREACH, errno.EHOSTDOWN)),
    (errors.SourceMissing, (_NO_SOURCE,)),
)


class Dialling(object):
    """Makes new connections. There is one Dialling for the process."""

    def __init__(self, resolver, make_room):
        """`resolver`: a resolver.Resolver; `make_room`: a function that closes idle connections when no file
        descriptors are left, and returns False if there was none to close."""
        self.resolver = resolver
        self._make_room = make_room

    def open(self, key, judge, limits, owner, via=b''):
        """Open a connection. Return (its Stream, address, port, time). May wait.

        The address that was dialled is native text, the port an int. The time is (seconds to look up the name, seconds
        to connect and shake hands). The caller closes the stream. `key`, `judge`, `limits`, `owner`, `via`: as for
        Pool.connect, which raises the same errors.
        """
        target, route = key[:2]
        first = route.parents[0] if route.parents else target
        dns, connect = limits
        try:
            sock, address, started, resolved = self._reach(first, route.sources, judge, dns, connect, owner)
            if route.parents:
                if len(key) > 2:
                    target = target._replace(host=key[2])
                stream = pass_through(sock, address, route.parents, target, connect, resolved + connect.seconds, via)
            else:
                stream = Stream(sock, address, errors.UpstreamLost)
        finally:
            owner.reach('')
        return stream, address, first.port, (resolved - started, monotonic() - resolved)

    def _reach(self, hop, sources, judge, dns, connect, owner):
        """Connect to any address of a hop. Return (socket, address, when the look-up began, when it had ended)."""
        owner.reach('dns')
        started = monotonic()
        addresses = self.resolver.resolve(hop.host, dns, owner.key)
        resolved = monotonic()
        owner.reach('connect')
        try:
            sock, address = self._connect(hop, judged(addresses, hop.port, judge), connect, sources)
        except (errors.ConnectRefused, errors.ConnectTimeout, errors.Unroutable) as error:
            # The name may have moved to other addresses since it was looked up.
            owner.reach('dns')
            moved = self.resolver.renew(hop.host, addresses, started, dns, owner.key)
            if not moved:
                raise error
            resolved = monotonic()
            owner.reach('connect')
            sock, address = self._connect(hop, judged(moved, hop.port, judge), connect, sources)
        return sock, address, started, resolved

    def _connect(self, hop, addresses, limit, sources):
        """Connect to one of these addresses. Return (socket, address). Try once more if file descriptors ran short."""
        try:
            return Attempts(hop.host, addresses, hop.port, limit, sources).run()
        except errors.Full:
            if not self._make_room():
                raise
            return Attempts(hop.host, addresses, hop.port, limit, sources).run()


def judged(addresses, port, judge):
    """Return those of `addresses`, native texts, that may be dialled. If there is none, raises the last Denied or
    DnsError.

    `port`: an int; `judge`: as for Pool.connect.
    """
    allowed, denied = [], None
    for address in addresses:
        try:
            judge(address, port)
            allowed.append(address)
        except errors.Denied as error:
            denied = error
    try:
        if not allowed:
            raise denied or errors.DnsError('there is no address')
        return allowed
    finally:
        denied = None               # its traceback leads to this frame, and all would wait for the collector


class Attempts(object):
    """The attempts to connect to any of several addresses, staggered, within one time limit (RFC 8305, 5).

    If there are more than AT_ONCE addresses, each gets a part of the time, and then the next one takes its place.
    """

    def __init__(self, host, addresses, port, limit, sources=()):
        """`host`: octets, for messages; `addresses`: native texts, in the order to try; `port`: an int; `limit`:
        the TimeLimit for all of them together; `sources`: as of a routes.Route. If there are some, addresses of an IP
        version without a source are left out."""
        self._host, self._port, self._limit, self._sources = host, port, limit, sources
        self._waiting = list(addresses)
        self._count = len(addresses)
        self._connecting = {}           # {socket: (when it began, in monotonic seconds, address)}
        self._failed = []               # [(address, errno)]; of a source, see _bind

    def run(self):
        """Return the first (socket, address) that is connected. May wait. Raises ConnectRefused, ConnectTimeout,
        Unroutable, Full, SourceMissing."""
        deadline = monotonic() + self._limit.seconds
        try:
            while self._waiting or self._connecting:
                if self._waiting:
                    connected = self._start(self._waiting.pop(0))
                    if connected is not None:
                        return connected
                while self._connecting:
                    sock = wait_connected(list(self._connecting), self._until(deadline))
                    if sock is None:
                        break
                    _since, address = self._connecting.pop(sock)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        return sock, address
                    self._fail(sock, address, code)
                    if self._waiting:
                        break           # the next address is tried at once
                if monotonic() >= deadline:
                    break
                if self._waiting and len(self._connecting) >= AT_ONCE:
                    sock = self._oldest()
                    self._fail(sock, self._connecting.pop(sock)[1], errno.ETIMEDOUT)
            raise self._error()
        finally:
            for sock in self._connecting:
                sock.close()

    def _until(self, deadline):
        """Return how long to wait for the attempts under way before the next one begins, in monotonic seconds."""
        if not self._waiting:
            return deadline
        if len(self._connecting) < AT_ONCE:
            return min(deadline, monotonic() + STAGGER)
        return min(deadline, self._connecting[self._oldest()][0] + self._part())

    def _oldest(self):
        """Return the socket whose attempt began first."""
        return min(self._connecting, key=self._connecting.get)

    def _part(self):
        """Return the seconds that each address has at least."""
        return self._limit.seconds * AT_ONCE / max(AT_ONCE, self._count)

    def _start(self, address):
        """Begin to connect. Return (socket, address) if it is connected at once, else None."""
        try:
            sock = _open_socket(address)
        except socket.error as error:
            self._failed.append((address, error.args[0]))
            return None
        if self._sources and not self._bind(sock, address):
            return None
        code = sock.connect_ex((address, self._port))
        if code in _PENDING:
            # An origin on this very host has answered by now: one more system call here saves three for a wait.
            code = sock.connect_ex((address, self._port))
        if not code or code == errno.EISCONN:
            return sock, address
        if code in _PENDING:
            self._connecting[sock] = monotonic(), address
        else:
            self._fail(sock, address, code)
        return None

    def _bind(self, sock, address):
        """Bind a socket to the source for an address. Return False, and close the socket, if that fails."""
        source, code = _source_for(address, self._sources), _NO_SOURCE
        if source is not None:
            try:
                _bind(sock, source)
                return True
            except socket.error as error:
                code = -error.args[0]       # negative, as the same errno means something else for a connect
        self._fail(sock, address, code)
        return False

    def _fail(self, sock, address, code):
        sock.close()
        self._failed.append((address, code))

    def _error(self):
        """Return one error for all the failures, which lists what was tried."""
        tried = [(address, errno.ETIMEDOUT) for _since, address in sorted(self._connecting.values())] + self._failed
        host = to_native(self._host)
        text = '%s port %d: ' % (host, self._port)
        if len(tried) == 1 and not self._waiting:
            address, code = tried[0]
            text = '' if address == host else host + ', '
            text += '%s port %d: %s' % (address, self._port, self._describe(address, code))
        else:
            text += '; '.join('%s: %s' % (address, self._describe(address, code)) for address, code in tried[:SHOWN])
            if len(tried) > SHOWN:
                text += '; and %d more failed' % (len(tried) - SHOWN)
            if self._waiting:
                text += '; no time for %d more' % len(self._waiting)
        codes = set(code for _address, code in tried)
        if any(code < 0 for code in codes):
            return errors.SourceMissing(text)
        for cause, numbers in _CAUSES:
            if codes & set(numbers):
                return cause(text)
        return errors.Unroutable(text)

    def _describe(self, address, code):
        if code == errno.ETIMEDOUT:
            return 'no answer within %.3g s' % self._part()
        source = _source_for(address, self._sources)
        if code == -errno.EADDRNOTAVAIL:
            return 'this host does not have the source address %s' % source
        if code < 0:
            return 'from the source address %s: %s' % (source, os.strerror(-code).lower())
        if code == _NO_SOURCE:
            return 'left out, as there is no source address of IPv%d' % (6 if ':' in address else 4)
        if code == errno.EADDRNOTAVAIL and source:
            return 'no port is free on the source address %s' % source
        return os.strerror(code).lower()


def _source_for(address, sources):
    """Return the address of `sources` that has the IP version of `address`, or None. All are native texts."""
    return next((source for source in sources if (':' in source) == (':' in address)), None)


def _bind(sock, source):
    """Have a socket connect from a local address. Raises socket.error. `source`: the address, native text."""
    if sys.platform.startswith('linux'):
        try:
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        except socket.error:
            pass                        # an old kernel: then each connection takes a port of its own
    sock.bind((source, 0))


def _open_socket(address):
    """Return a new socket for an address, native text, that does not block. Raises socket.error."""
    sock = NativeSocket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    tune(sock)
    return sock

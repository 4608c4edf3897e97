"""Keeps connections to origins for later requests, and decides which client may use which. `dialling` makes new ones.

The key of a connection is its target and its route. So a request that takes another route never gets the connection.
To a parent that takes requests in absolute-form, the target is the parent itself: all hosts share the connection.
The earlier exchanges of a connection decide who may use it next. Most connections are kept for all clients. One that is
logged in (NTLM, Negotiate) belongs to the client connection that logged it in. One that has carried a request body is
closed, because an origin that did not read that body would take it for the next request.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.upstream.dialling import Dialling

SHED = 16           # idle connections that are closed when there are no file descriptors left
OWNED_EACH = 4      # logged-in connections of one client connection; the one that was idle for longest is closed


class Connection(object):
    """A stream to an origin, with the facts that decide about its next use."""
    __slots__ = ('stream', 'key', 'parent', 'address', 'port', 'took', 'kept', 'clean', 'parked', 'bodies', 'logged_in',
                 'host', 'owner', 'siblings')

    def __init__(self, key, opened):
        """Make a connection that is in use. `key`: as for Pool.connect; `opened`: the return value of Dialling.open."""
        self.key = key
        self.parent = None          # the routes.Parent that gets requests in absolute-form by it, else None
        self.stream, self.address, self.port, self.took = opened
        self.clean = False          # True if the last exchange ended in such a way that another may follow
        self.kept = False           # True if it served an exchange before
        self.parked = 0.0           # when it became idle, in monotonic seconds
        self.bodies = False         # True if it has carried octets of a request body
        self.logged_in = False      # True if the origin may treat all requests on it as those of one user
        self.host = None            # with a parent: the origin that the log-in is for, as Pool.connect got it
        self.owner = None           # (owner, its key) while it is idle and belongs to one client connection
        self.siblings = None        # once it was idle and for all clients: the list of connections with the same key


class Pool(object):
    """All connections to origins. There is one Pool for the process; it and its idle connections outlive reloads."""

    def __init__(self, resolver, keep, keep_time, parents):
        """`resolver`: a resolver.Resolver; `keep`: idle connections kept in all; `keep_time`: seconds each is kept;
        `parents`: the parents.States of the process."""
        self.keep, self.keep_time = keep, keep_time
        self.parents = parents
        self.dialling = Dialling(resolver, self._shed)
        self._idle = collections.OrderedDict()      # {Connection: None}, longest idle first
        self._by_key = {}                           # {key: [Connection]}, idle ones, longest idle first
        self._owned = {}                            # {owner: OrderedDict of {(its key, key): Connection}}, idle ones
        self._owned_idle = collections.OrderedDict()    # {Connection: itself} of these, longest idle first
        self._open = set()                          # all Connections, the idle ones included
        self._received = self._sent = 0             # octets, of those that are closed

    def use(self, options):
        """Use other settings from now on, here and in the Resolver. `options`: the section [upstream]."""
        self.keep, self.keep_time = options.keep, options.keep_time
        self.resolver.use(options)

    def connect(self, key, judge, limits, reuse, owner, host=None, via=b''):
        """Return a Connection, a kept one or a new one. May wait. The caller releases it.

        `key`: (Target, Route); or (Target, Route, address), octets, to ask the last parent for that address instead of
        the host; or (Parent, Route) for requests in absolute-form to that parent; `judge`: a function of (address,
        port), native text and int, that is called before an address is dialled and raises Denied; `limits`: TimeLimits
        (dns, connect); `reuse`: True if a kept connection may be used; one that is logged in for this owner is used in
        any case; `owner`: the client connection, which can be a key of a dict. Its `key` is the key for limits of the
        current request, see rates.key_of; its `reach` is called with the step that begins: 'dns', 'connect', or '' when
        the last one has ended; `host`: the origin if the key does not name it, because a connection that is logged in
        serves one origin only; `via`: see handshakes.pass_through.
        Raises Denied, DnsError, DnsTimeout, DnsFull, ConnectRefused, ConnectTimeout, Unroutable, Full; with a parent
        also what handshakes.pass_through does.
        """
        connection = None
        if self._owned and owner in self._owned:
            connection = self._take_owned(key, judge, owner, host)
        if connection is None and reuse:
            connection = self._take(key, judge)
        if connection is None:
            connection = Connection(key, self.dialling.open(key, judge, limits, owner, via))
            self._open.add(connection)
        if host is not None:
            connection.parent, connection.host = key[0], host
        return connection

    def _shed(self):
        """Close some idle connections, because file descriptors run short. Return False if there was none to close."""
        idle = list(self._idle)[:SHED]
        for connection in idle:
            self._drop(connection)
        return bool(idle)

    def release(self, connection, owner):
        """Keep a connection for the next exchange that may use it, if the last one has ended cleanly, or else close it.

        `connection`: a Connection; `owner`: the client connection, see `connect`.
        """
        stream = connection.stream
        if not connection.clean or stream.buffer or stream.ended or not connection.logged_in and (
                connection.bodies or not self.keep):
            self._close(connection)
            return
        connection.clean, connection.kept, connection.parked = False, True, monotonic()
        # Octets that arrive now answer no request, so the connection is closed. Mostly the origin has closed it.
        stream.reader.start(self._drop, connection)
        if connection.logged_in:
            self._own(connection, owner)
            return
        self._idle[connection] = None
        siblings = connection.siblings = self._by_key.setdefault(connection.key, [])
        siblings.append(connection)
        if len(self._idle) > self.keep or self._owned:
            self.prune()

    def leave(self, owner):
        """Close the connections that belong to `owner`, a client connection that has ended."""
        if owner in self._owned:
            for connection in list(self._owned[owner].values()):
                self._drop(connection)

    def _own(self, connection, owner):
        """Keep a connection for one client connection, and only for the user that it has now."""
        mine = self._owned.setdefault(owner, collections.OrderedDict())
        name = (owner.key, connection.key, connection.host)
        if name in mine:
            self._drop(mine[name])      # an older one that is logged in, and could not be used
            self._owned[owner] = mine
        connection.owner = owner, name
        mine[name] = self._owned_idle[connection] = connection
        # Those of other owners stay. If `keep` has just become smaller, they may be too many: `prune` closes these.
        while len(mine) > OWNED_EACH or mine and not self._idle and not self._has_room():
            self._drop(next(iter(mine.values())))
        self.prune()

    def _take_owned(self, key, judge, owner, host):
        connection = self._owned[owner].get((owner.key, key, host))
        if connection is None:
            return None
        try:
            judge(connection.address, connection.port)
        except errors.Denied:
            return None                 # the rules that hold now deny it; another address may be allowed
        self._forget(connection)
        if connection.stream.is_quiet():
            return connection
        self._close(connection)
        return None

    @property
    def resolver(self):
        """Return the resolver.Resolver that looks names up."""
        return self.dialling.resolver

    @property
    def kept(self):
        """Return how many idle connections there are."""
        return len(self._idle) + len(self._owned_idle)

    @property
    def connections(self):
        """Return how many connections there are, idle or not."""
        return len(self._open)

    def octets(self):
        """Return (octets received, octets sent) on all connections since the process began."""
        streams = [connection.stream for connection in self._open]
        return (self._received + sum(stream.received for stream in streams),
                self._sent + sum(stream.sent for stream in streams))

    def prune(self):
        """Close idle connections that are too many or too old.

        Each owner may have one that is logged in, since each client connection has a file descriptor for its way to the
        origin. Further ones count like all others, of which there may be `keep`.
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
        for connection in reversed(self._by_key.get(key, ())):      # the loop removes only those that it has looked at
            # Ask the rules that hold now, for this client, because the connection may have served another client. If
            # this client may not use it, other clients still may.
            try:
                judge(connection.address, connection.port)
            except errors.Denied:
                continue
            self._forget(connection)
            if connection.parked + self.keep_time >= monotonic() and connection.stream.is_quiet():
                return connection
            self._close(connection)
        return None

    def _forget(self, connection):
        """Remove a connection from the idle ones."""
        connection.stream.reader.stop()
        if connection.owner is not None:
            self._disown(connection)
            return
        del self._idle[connection]
        siblings = connection.siblings
        if siblings[-1] is connection:
            siblings.pop()              # the empty list stays until it is closed: mostly it comes back soon
        else:
            siblings.remove(connection)

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
        if connection.siblings is not None and not self._by_key.get(connection.key, True):
            del self._by_key[connection.key]
        self._received += connection.stream.received
        self._sent += connection.stream.sent
        connection.stream.close()

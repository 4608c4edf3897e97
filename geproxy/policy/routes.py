"""Decides which ways a request may go: directly, or through other proxies (parents). Pure: looks up no name.

A route is chosen by the name that the client asks for, because many networks with parents cannot resolve the names of
the world. `exchange.routing` takes the routes in turn; `settings.route_lines` reads the rows of [upstream] routes.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import compat
from geproxy.memo import Bounded, Memo
from geproxy.net import address
from geproxy.policy import rules

# The destination of a request. `scheme`: octets, b'http' for a request that is forwarded, b'https' for the destination
# of a tunnel (CONNECT); `host`: octets, as the client wrote them; `port`: an int.
Target = collections.namedtuple('Target', 'scheme host port')

# Another proxy on the way. `scheme`: octets, b'http', b'https', b'socks5', b'socks5h' or b'socks4a'; `host`, `port`: as
# of a Target; `login`: (name, password) as octets, or None; `context`: the ssl.SSLContext for https, else None.
Parent = collections.namedtuple('Parent', 'scheme host port login context')

# The way to a target. `parents`: a tuple of Parents, the other proxies on the way, the nearest one first; empty for a
# connection that goes directly to the target. `sources`: a tuple of local addresses, native texts, that connections
# leave from, at most one of each IP version; empty: the system chooses.
Route = collections.namedtuple('Route', 'parents sources')

# One row of [upstream] routes. `wheres`: a tuple of rules.Where, the destinations; `routes`: a tuple of Routes, in the
# order to try; their `sources` are empty if the row has none; `resolve`: True for `resolve=here`; `source`: FILE:LINE;
# `text`: the row for people.
Row = collections.namedtuple('Row', 'wheres routes resolve source text')

# The ways of one request. `routes`, `resolve`: as of a Row, but with all sources; `where`: FILE:LINE of the row, native
# text, '' if no row matches.
Choice = collections.namedtuple('Choice', 'routes resolve where')

DIRECT = Route((), ())
FORWARDING = (b'http', b'https')        # schemes of parents that take requests in absolute-form (RFC 9112, 3.2.2)
RESOLVING = b'socks5'                   # the scheme of parents that are asked for addresses only, as curl reads it
REMEMBERED = 10000                      # choices: clients ask for the same again and again

# {(scheme, host, port): (Target, DIRECT)}, to look up: `directly[b'http', b'a.test', 80]`. To make them anew for each
# request costs 1 us, and as keys they are found sooner if they are the same objects (3.11, 2026).
directly = Memo(lambda asked: (Target(*asked), DIRECT))


class Routes(object):
    """The rows of [upstream] routes. They never change: a reload makes others.

    `rows`: the Rows; `parents`: {Parent: its name as of show_parent}, all that a row names, in the order of the file;
    `names`: {Route: its name as of show}, all that `choose` gives; `sources`: all local addresses that connections may
    have to leave from, native texts.
    """

    def __init__(self, rows, sources=()):
        """`rows`: an iterable of Rows; `sources`: the local addresses of [upstream] source, native texts: routes
        without sources of their own get these."""
        self.rows = tuple(rows)
        self._sources = tuple(sources)
        self.parents = collections.OrderedDict(
            (parent, show_parent(parent)) for row in self.rows for route in row.routes for parent in route.parents)
        self._choices = [Choice(tuple(self._complete(route) for route in row.routes), row.resolve, row.source)
                         for row in self.rows]
        self._otherwise = Choice((self._complete(DIRECT),), False, '')
        self._by_name = {}              # {one of host_keys: [(index of a row, Where)]}: there may be thousands
        self._others = []               # [(index of a row, Where)]: those for any host, for networks, or for many names
        for at, row in enumerate(self.rows):
            for where in row.wheres:
                alone = where.names is not None and len(where.names) == 1
                (self._by_name.setdefault(next(iter(where.names)), []) if alone else self._others).append((at, where))
        self.names = dict((route, show(route)) for choice in self._choices + [self._otherwise]
                          for route in choice.routes)
        # All local addresses that connections may have to leave from.
        self.sources = sorted(set(source for choice in self._choices + [self._otherwise]
                                  for route in choice.routes for source in route.sources))
        self._remembered = Bounded(REMEMBERED)      # {(host, port, tunnel): Choice}

    def choose(self, host, port, tunnel=False):
        """Return the Choice for a destination: that of the first row that matches, or the direct way if none does.

        `host`: octets, in lower case without a dot at its end; `port`: an int; `tunnel`: True for CONNECT.
        """
        choice = self._remembered.get((host, port, tunnel))
        if choice is None:
            at = self.find(host, port, tunnel)
            choice = self._otherwise if at is None else self._choices[at]
            self._remembered.remember((host, port, tunnel), choice)
        return choice

    def find(self, host, port, tunnel=False):
        """Return the index of the first row that matches, or None. `host`, `port`, `tunnel`: as for `choose`."""
        keys, ip = rules.host_keys(host), _literal(host)
        first = min([at for key in keys for at, where in self._by_name.get(key, ())
                     if _matches(where, keys, ip, port, tunnel)] or [len(self.rows)])
        for at, where in self._others:
            if at > first:
                break
            if _matches(where, keys, ip, port, tunnel):
                return at
        return first if first < len(self.rows) else None

    def _complete(self, route):
        return route if route.sources else route._replace(sources=self._sources)


def _literal(host):
    """Return the IP if `host`, octets, is an address in any spelling by which it is judged, else None."""
    known = None if host.endswith(b'localhost') else address.known_address(host)      # localhost is a name in the rows
    return None if known is None else address.unmap(address.parse_ip(known))


def _matches(where, keys, ip, port, tunnel):
    """Return True if a Where holds a destination. `keys`: its rules.host_keys; `ip`: its IP, None for a name."""
    if where.tunnel is not None and where.tunnel != tunnel:
        return False
    if where.ports is not None and not address.allows_port(where.ports, port):
        return False
    if where.names is not None:
        return not where.names.isdisjoint(keys)
    return not where.networks or ip is not None and address.within(ip, where.networks) is not None


def is_forwarding(parent):
    """Return True if `parent`, a Parent, takes plain requests in absolute-form, so that it needs no tunnel for them."""
    return parent.scheme in FORWARDING


def show_parent(parent):
    """Return the URL of `parent`, a Parent, as native text without secrets: http://proxy-a.corp:3128."""
    host = compat.to_native(parent.host)
    return '%s://%s:%d' % (compat.to_native(parent.scheme), '[%s]' % host if ':' in host else host, parent.port)


def show(route):
    """Return `route`, a Route, as native text: `direct`, or the URLs of its parents, without secrets."""
    return ' '.join(show_parent(parent) for parent in route.parents) or 'direct'

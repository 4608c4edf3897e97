"""Targets and routes of requests: plain values."""
from __future__ import absolute_import, division, print_function

import collections

from geproxy.memo import Memo

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

DIRECT = Route((), ())

# {(scheme, host, port): (Target, DIRECT)}, to look up: `directly[b'http', b'a.test', 80]`. To make them anew for each
# request costs 1 us, and as keys they are found sooner if they are the same objects (3.11, 2026).
directly = Memo(lambda asked: (Target(*asked), DIRECT))

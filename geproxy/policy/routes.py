"""Targets and routes of requests: plain values. Decides nothing yet, because every route is DIRECT."""
from __future__ import absolute_import, division, print_function

import collections

from geproxy.memo import Memo

# The destination of a request. `scheme`: octets, b'http' for a request that is forwarded, b'https' for the destination
# of a tunnel (CONNECT); `host`: octets, as the client wrote them; `port`: an int.
Target = collections.namedtuple('Target', 'scheme host port')

# The way to a target. `parents`: a tuple of Targets, the other proxies on the way, the nearest one first; empty for a
# connection that goes directly to the target.
Route = collections.namedtuple('Route', 'parents')

DIRECT = Route(())

# {(scheme, host, port): (Target, DIRECT)}, to look up: `directly[b'http', b'a.test', 80]`. To make them anew for each
# request costs 1 us, and as keys they are found sooner if they are the same objects (3.11, 2026).
directly = Memo(lambda asked: (Target(*asked), DIRECT))

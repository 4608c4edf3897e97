"""Where a request goes, and on which way: plain values. Decides nothing yet: every route is DIRECT."""
from __future__ import absolute_import, division, print_function

import collections

# What a client wants to reach. `scheme`: octets, b'http' for a request that is forwarded, b'https' for what a tunnel
# (CONNECT) leads to; `host`: octets, as the client wrote them; `port`: an int.
Target = collections.namedtuple('Target', 'scheme host port')

# How a target is reached. `parents`: a tuple of Targets, the other proxies on the way, the nearest one first; empty for
# a connection that goes straight to the target.
Route = collections.namedtuple('Route', 'parents')

DIRECT = Route(())

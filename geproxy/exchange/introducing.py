"""Reads the PROXY header of a load balancer, which says who the client of a connection is (see net.proxy_header)."""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.limits import rates
from geproxy.net import proxy_header
from geproxy.net.address import parse_ip


def introduce(handler):
    """Read the PROXY header of a connection, and let its client be the one that the header names.

    `handler`: a handler.Handler of a peer that must send such a header. Its `ip`, `client_key`, `vouched` and
    `client.peer` are changed. May wait. Raises BadProxyHeader, and HeadTimeout or ClientLost if only a part of the
    header came.
    """
    client = handler.client
    limit = handler.proxy.waits.head
    handler.waiting = True
    try:
        header = client.read_front(proxy_header.parse, limit, monotonic() + limit.seconds)
    except (errors.HeadTimeout, errors.IdleTimeout, errors.ClientLost):
        if client.buffer:
            raise
        client.ended = True             # silently: nothing has begun
        return
    finally:
        handler.waiting = False
    handler.vouched = not header.is_local
    if header.client:
        client.peer = header.client[0]
        handler.ip = parse_ip(client.peer)
        handler.client_key = rates.key_of(None, client.peer, handler.proxy.limits.ipv6_prefix)

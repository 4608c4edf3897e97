"""Reads the PROXY header of a load balancer, which names the client of a connection (see net.proxy_header)."""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.limits import rates
from geproxy.net import proxy_header
from geproxy.net.address import parse_ip


def introduce(conversation):
    """Read the PROXY header of a connection, and use the client that it names. May wait.

    `conversation`: a Conversation with a load balancer, which must send such a header. Its `ip`, `client_key`,
    `balanced` and `client.peer` are changed. If the load balancer sends nothing, its connection ends without an answer.
    Raises BadProxyHeader; HeadTimeout or ClientLost if only a part of the header came.
    """
    client, proxy = conversation.client, conversation.server.proxy
    limit = proxy.waits.head
    try:
        header = client.read_front(proxy_header.parse, limit, monotonic() + limit.seconds)
    except (errors.HeadTimeout, errors.IdleTimeout, errors.ClientLost):
        if client.buffer:
            raise
        client.ended = True
        return
    conversation.balanced = not header.is_local
    if header.client:
        client.peer = header.client[0]
        conversation.ip = parse_ip(client.peer)
        conversation.client_key = rates.key_of(None, client.peer, proxy.limits.ipv6_prefix)

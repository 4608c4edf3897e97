"""Reads the PROXY header of a load balancer, which names the client of a connection (see net.proxy_header)."""
from __future__ import absolute_import, division, print_function

import socket

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.limits import rates
from geproxy.net import proxy_header
from geproxy.net.address import parse_ip
from geproxy.net.stream import GRACE
from geproxy.net.tls import peek


def introduce(conversation, exactly):
    """Read the PROXY header of a connection, and use the client that it names. May wait.

    `conversation`: a Conversation with a load balancer, which must send such a header. Its `ip`, `client_key`,
    `balanced` and `client.peer` are changed; `exactly`: True to leave what follows the header on the socket. If the
    load balancer sends nothing, its connection ends without an answer.
    Raises BadProxyHeader; HeadTimeout or ClientLost if only a part of the header came.
    """
    client, proxy = conversation.client, conversation.server.proxy
    limit = proxy.waits.head
    deadline = monotonic() + limit.seconds
    try:
        if exactly:
            _fill_exactly(client, limit, deadline)
        header = client.read_front(proxy_header.parse, limit, deadline)
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


def _fill_exactly(client, limit, deadline):
    """Read the header, and nothing that follows it. May wait.

    `client`: a Stream of a socket; `limit`, `deadline`: as for Stream.wait. Raises what Stream.read_front does.
    """
    header = None
    while header is None and not client.ended and monotonic() < deadline + GRACE:
        client.wait(limit, deadline)
        try:
            ahead = peek(client.transport, proxy_header.V2_SIZE) or b''
        except socket.error:
            ahead = b''                 # it has reset the connection: `fill` finds the end
        header = proxy_header.parse(client.buffer + ahead)
        # As long as the parser wants more, all that has come belongs to the header.
        client.fill(len(ahead) if header is None else header.size - len(client.buffer))

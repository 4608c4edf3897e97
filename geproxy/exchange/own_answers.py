"""What the proxy answers by itself to an OPTIONS or TRACE that goes no further (RFC 9110, 7.6.2). Sends nothing."""
from __future__ import absolute_import, division, print_function

from geproxy.http1 import responses


def last_hop(request, head, close):
    """Return the answer to an OPTIONS or TRACE that may go no further, as octets (RFC 9110, 7.6.2).

    `request`: a message.Request; `head`: the octets of its head, as they came; `close`: True if the connection ends
    after the answer.
    """
    if request.method != b'TRACE':
        return responses.options(close)
    # Not the line as it came: its target may contain a password.
    line = b'%s %s %s\r\n' % (request.method, request.target, request.protocol)
    return responses.trace(line + head.partition(b'\r\n')[2], close)

"""Makes the answers of the proxy itself: its page, OPTIONS and TRACE. Sends nothing."""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.http1 import responses
from geproxy.http1.message import PORTS
from geproxy.pages import proxy_port


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


def page(request, head, close):
    """Return the answer to a browser that visits the proxy as if it were a web site, as (status code, octets).

    `request`, `head`, `close`: as for `last_hop`.
    """
    if request.method in (b'OPTIONS', b'TRACE'):
        return 200, last_hop(request, head, close)
    return proxy_port.answer(request, close)


def is_asked_for(request, error, access, port):
    """Return True if a request that failed was meant for the proxy itself, as if it were a web site.

    `request`: a message.Request; `error`: the ProxyError that it failed with; `access`: an access.Access; `port`: an
    int, of the listener that the client came to. A client that uses the proxy as a proxy sends other forms of targets.
    """
    if request.form not in ('origin', 'asterisk'):
        return False
    refused = isinstance(error, (errors.DnsError, errors.Denied, errors.LoginRequired))
    return isinstance(error, errors.Ourselves) or refused and access.may_be_ours(
        request.host, request.port or PORTS[b'http'], port)

"""The trailer section of a chunked body: which of its fields go on (RFC 9110, 6.5). Pure."""
from __future__ import absolute_import, division, print_function

from geproxy.http1 import grammar
from geproxy.http1.section import FOR_PROXIES, HOP_BY_HOP

# Never in a trailer section: framing, routing, and what would have changed the meaning earlier (RFC 9110, 6.5.1).
NOT_IN_TRAILERS = HOP_BY_HOP | FOR_PROXIES | frozenset([
    b'host', b'trailer', b'expect', b'max-forwards', b'authorization', b'cookie', b'set-cookie', b'content-encoding',
    b'content-type', b'content-range', b'range', b'cache-control', b'via'])


def parse(lines, dropped, error):
    """Trailer field lines -> octets for the next hop; raises `error` (RFC 9110, 6.5; RFC 9112, 7.1.2).

    `dropped`: names, in lower case, of fields that do not go on: the connection options of the message, and what policy
    would have taken from its head.
    """
    if grammar.find_doubtful(b'\r\n'.join(lines)):
        raise error('a trailer field has a control octet in it')
    fields, _index = grammar.parse_fields(lines, error)
    # Programs behind CGI take X_Forwarded_For for X-Forwarded-For: so _ counts as - in all names, those of rules too.
    dropped = NOT_IN_TRAILERS.union(name.replace(b'_', b'-') for name in dropped)
    return b''.join(line for lower, _values, line in fields if lower.replace(b'_', b'-') not in dropped)

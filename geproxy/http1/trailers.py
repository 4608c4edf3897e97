"""Decides which fields of the trailer section of a chunked body go on (RFC 9110, 6.5). No I/O."""
from __future__ import absolute_import, division, print_function

from geproxy.http1 import grammar
from geproxy.http1.section import FOR_PROXIES, HOP_BY_HOP

# Not allowed in a trailer section: framing, routing, and all that changes how the head is understood (RFC 9110, 6.5.1).
NOT_IN_TRAILERS = HOP_BY_HOP | FOR_PROXIES | frozenset([
    b'host', b'trailer', b'expect', b'max-forwards', b'authorization', b'cookie', b'set-cookie', b'content-encoding',
    b'content-type', b'content-range', b'range', b'cache-control', b'via'])


def parse(lines, dropped, error):
    """Return the trailer section for the next hop, as octets (RFC 9110, 6.5; RFC 9112, 7.1.2).

    `lines`: field lines without line ends; `dropped`: names of fields that do not go on, in lower case: the connection
    options of the message and the fields that policy drops; `error`: the class to raise for an invalid line.
    """
    if grammar.find_doubtful(b'\r\n'.join(lines)):
        raise error('a trailer field has a control octet in it')
    fields, _index = grammar.parse_fields(lines, error)
    # CGI programs cannot tell X_Forwarded_For from X-Forwarded-For, so _ counts as - in all names, also those of rules.
    dropped = NOT_IN_TRAILERS.union(name.replace(b'_', b'-') for name in dropped)
    return b''.join(line for lower, _values, line in fields if lower.replace(b'_', b'-') not in dropped)

"""Writes the responses that the proxy itself sends. The status is that of the error."""
from __future__ import absolute_import, division, print_function

import re
import time

from geproxy import wording
from geproxy.compat import to_octets
from geproxy.http1 import grammar

ESTABLISHED = b'HTTP/1.1 200 Connection established\r\n\r\n'
METHODS = b'GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE, CONNECT'
SAID_SIZE = 2048                # characters of what a parent said about its refusal
REASON_SIZE = 160               # octets of a reason phrase, which is all that many clients print
_DAYS = (b'Mon', b'Tue', b'Wed', b'Thu', b'Fri', b'Sat', b'Sun')
_MONTHS = [to_octets(name) for name in wording.MONTHS]
_date = [0, b'']                # seconds since the epoch, and the date as octets
_not_printable = re.compile(r'[^\x20-\x7e]')


def date():
    """Return the time now as an HTTP date, octets (RFC 9110, 5.6.7)."""
    now = int(time.time())
    if now != _date[0]:
        at = time.gmtime(now)
        _date[:] = now, b'%s, %02d %s %d %02d:%02d:%02d GMT' % (
            _DAYS[at.tm_wday], at.tm_mday, _MONTHS[at.tm_mon - 1], at.tm_year, at.tm_hour, at.tm_min, at.tm_sec)
    return _date[1]


def _plain(text):
    return _not_printable.sub('?', text)


def _head(status, reason, fields, close):
    lines = [b'HTTP/1.1 %d %s' % (status, reason), b'Date: ' + date()]
    lines.extend(fields)
    if close:
        lines.append(b'Connection: close')
    return b'\r\n'.join(lines) + b'\r\n\r\n'


def failure(error, name, record_id, method, close, realm=''):
    """Return the response for a ProxyError, as octets.

    `error`: the ProxyError; `name`: of this proxy, for Proxy-Status (RFC 9209); `record_id`: the request id, which is
    also in the log; `method`: of the request, octets, b'' if unknown; `close`: True to say that the connection ends
    after it; `realm`: native text, of the log-in. The reason phrase has the message, too, because many clients print
    nothing else when CONNECT is refused.
    """
    what = grammar.shorten(_plain(str(error)))
    said = 'The parent says: %s\n' % _plain(error.text[:SAID_SIZE]) if error.text else ''
    body = to_octets('geproxy: %s\n%s%s\nreason: %s\nrequest id: %s\n' % (
        what, said, (error.hint + '\n') if error.hint else '', error.token, record_id))
    quoted = what.replace('\\', '\\\\').replace('"', '\\"')
    token = error.token
    if token not in RFC9209:
        token = ABOUT_PARENTS.get(token) or (
            'http_request_error' if error.status < 500 else 'proxy_internal_response')
    fields = [
        b'Content-Type: text/plain; charset=us-ascii',
        b'Content-Length: %d' % len(body),
        to_octets('Proxy-Status: %s; error=%s; details="%s"; request-id="%s"' % (name, token, quoted, record_id)),
        b'Cache-Control: no-store',
    ]
    if error.status == 407:
        fields.append(to_octets('Proxy-Authenticate: Basic realm="%s", charset="UTF-8"' % realm))     # RFC 7617, 2
    if error.retry_after is not None:
        fields.append(b'Retry-After: %d' % error.retry_after)      # RFC 9110, 10.2.3; for 429 RFC 6585, 4
    reason = to_octets(what)
    if len(reason) > REASON_SIZE:
        reason = reason[:REASON_SIZE - 3] + b'...'
    return _head(error.status, reason, fields, close) + (b'' if method == b'HEAD' else body)


# The error types of RFC 9209, 2.3 that this proxy uses. For other reasons the general type of their side is sent.
RFC9209 = frozenset('''
    dns_timeout dns_error destination_ip_prohibited destination_ip_unroutable connection_refused connection_terminated
    connection_timeout connection_read_timeout connection_write_timeout connection_limit_reached http_request_error
    http_request_denied http_response_incomplete http_response_header_section_size http_response_transfer_coding
    http_response_timeout http_upgrade_failed http_protocol_error proxy_internal_error proxy_loop_detected
'''.split())

# The types for the reasons about parents. Neither general type fits: the client sent no wrong request, and
# proxy_internal_response means that the next hop was not asked.
ABOUT_PARENTS = {
    'parent_failed': 'destination_unavailable',
    'parent_refused': 'destination_unavailable',
    'parent_login_failed': 'proxy_configuration_error',
}


def options(close):
    """Return the answer to an OPTIONS that goes no further, as octets (RFC 9110, 9.3.7). `close`: as for `failure`."""
    return _head(200, b'OK', [b'Allow: ' + METHODS, b'Content-Length: 0'], close)


def trace(head, close):
    """Return the answer to a TRACE that goes no further: the request head without secrets (RFC 9110, 9.3.8).

    `head`: octets as they came; `close`: as for `failure`.
    """
    secret = (b'authorization', b'proxy-authorization', b'cookie')
    lines = [line for line in head[:-4].split(b'\r\n') if line.partition(b':')[0].lower() not in secret]
    body = b'\r\n'.join(lines) + b'\r\n\r\n'
    fields = [b'Content-Type: message/http', b'Content-Length: %d' % len(body)]
    return _head(200, b'OK', fields, close) + body

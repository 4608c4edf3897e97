"""A table of the protocols that clients speak to this proxy: how a log-in arrives, and how a client gets its answer.

`conversation` asks the dialect of its connection. A protocol with messages of its own, like SOCKS, has a class with
these attributes (see socks_dialect). Sends nothing.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors
from geproxy.http1 import protocols, responses
from geproxy.http1.basic import parse_credentials

# first: the first octet of every answer.
# established: the octets that tell the client that its tunnel is open.
# refusal: a function of (ProxyError, name of this proxy, request id, method, close, realm) that returns the octets of
#   the refusal. Name, id and realm are native text; `method` is octets, b'' if it is not known; `close`: True if the
#   connection ends after the refusal.
# credentials: a function of a message.Request that returns (name, password) as octets, or None if the client does not
#   log in. Raises BadRequest, LoginFailed, LoginRequired.
Dialect = collections.namedtuple('Dialect', 'first established refusal credentials')


def _refusal(error, name, record_id, method, close, realm=''):
    """See Dialect. A client that speaks another protocol is told in that protocol."""
    if error.kind == 'tls' and not isinstance(error, errors.WrongProtocol):
        return protocols.TLS_DENIED
    if error.kind:
        return protocols.REFUSALS[error.kind]
    return responses.failure(error, name, record_id, method, close, realm)


def _credentials(request):
    """See Dialect: the field Proxy-Authorization, scheme Basic (RFC 9110, 11.7.2; RFC 7617)."""
    values = request.values(b'proxy-authorization')
    if not values:
        return None
    if len(values) > 1:
        raise errors.BadRequest('there are %d Proxy-Authorization fields: send one' % len(values))
    try:
        credentials = parse_credentials(values[0])
    except ValueError as error:
        raise errors.LoginFailed('log-in failed: %s' % error)
    if credentials is None:
        raise errors.LoginRequired('this proxy asks for a name and a password, by the scheme Basic')
    return credentials


HTTP = Dialect(b'H', responses.ESTABLISHED, _refusal, _credentials)

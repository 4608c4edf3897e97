"""The one exit for all that goes wrong: how an exchange is refused, or broken off if its response has begun."""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.exchange import relay

HEAD_START = 32         # octets: enough for a method
SWALLOWED = 64 * 1024   # octets of a body that are read only so that the connection can go on


def refuse(exchange, error):
    """Tell the client why its request fails, if no response has begun. Return True if another request may follow.

    `exchange`: an Exchange; `error`: the ProxyError. May wait. Raises no ProxyError: a client that has left cannot be
    told.
    """
    record, client = exchange.record, exchange.client
    client.pace = None              # a refusal is never slowed down
    try:
        error = _counted(exchange, error)
        proxy = exchange.proxy
        record.reason, record.message, record.rule = error.token, str(error), error.rule or record.rule
        if isinstance(error, errors.QuotaExceeded) and not client.sent + record.sent:
            exchange.forget_response()      # it was about to begin, and nothing of it has been sent
        if exchange.begun:
            return _break_off(exchange)
        persists = _persists_behind(exchange, error)
        exchange.respond(error.status, exchange.conversation.dialect.refusal(
            error, proxy.name, record.id, _method(exchange), not persists, proxy.auth.realm))
        return exchange.conclude(persists)
    except (errors.ClientLost, errors.DownloadTimeout):
        return exchange.lose_client()


def _counted(exchange, error):
    """Return the error to refuse with. A request that is refused before it is known who asks counts for the limits."""
    if exchange.key is None and not isinstance(error, (errors.ClientLost, errors.HeadTimeout)):
        try:
            exchange.proxy.admit(exchange.conversation.client_key, exchange.record.wall)
        except errors.TooManyRequests as over:
            return over
    return error


def _method(exchange):
    """Return the method of the request, as octets, however bad the rest of it is: the response to HEAD has no body."""
    if exchange.request is not None:
        return exchange.request.method
    return (exchange.head or exchange.client.buffer)[:HEAD_START].partition(b' ')[0]


def _break_off(exchange):
    """End a response that has begun and cannot be completed, so that the client can tell."""
    exchange.record.aborted = True
    if not exchange.delimited:
        exchange.client.abort()
    return exchange.conclude(False)


def _persists_behind(exchange, error):
    """Return True if the connection may carry another request behind the refusal.

    git and dnf send each request without a name first, and then once more on the same connection, also CONNECT and
    requests with a body. A client that has sent more behind its CONNECT does not wait for the answer: those octets are
    not for this proxy (RFC 9931, 8).
    """
    request, body = exchange.request, exchange.body
    if request is not None and request.method == b'CONNECT' and (
            error.status != 407 or not exchange.client.is_quiet()):
        return False
    if error.status != 407:
        return not isinstance(error, errors.Killed) and exchange.persists()
    if body is not None and 0 < (body.left or 0) <= SWALLOWED and not request.expects:
        relay.swallow(body, exchange.client, exchange.proxy.waits.swallow, exchange.pace_of_unwanted())
    return exchange.persists()

"""Handles every error of an exchange: refuses the request, or breaks off its response if that has begun."""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.exchange import relay

HEAD_START = 32         # octets that are enough to find a method
DISCARDED = 64 * 1024   # octets: the largest unwanted body that is read so that the connection can be used again


def refuse(exchange, error):
    """Tell the client why its request fails, if no response has begun. Return True if another request may follow.

    `exchange`: an Exchange; `error`: the ProxyError. May wait. Raises no ProxyError, because a client that has left
    cannot be told anything.
    """
    record, client = exchange.record, exchange.client
    client.pace = None              # a refusal is never slowed down
    try:
        error = _counted(exchange, error)
        proxy = exchange.proxy
        record.reason, record.message, record.rule = error.token, str(error), error.rule or record.rule
        if isinstance(error, errors.QuotaExceeded) and not client.sent + record.sent:
            exchange.forget_response()      # the response was about to begin, but nothing of it has been sent
        if exchange.begun:
            return _break_off(exchange)
        persists = _persists_behind(exchange, error)
        exchange.respond(error.status, exchange.conversation.dialect.refusal(
            error, proxy.name, record.id, _method(exchange), not persists, proxy.auth.realm))
        return exchange.conclude(persists)
    except (errors.ClientLost, errors.DownloadTimeout):
        return exchange.lose_client()


def _counted(exchange, error):
    """Return the error to refuse with. A request that is refused before its user is known counts for the limits, too.
    """
    if exchange.key is None and not isinstance(error, (errors.ClientLost, errors.HeadTimeout)):
        try:
            exchange.proxy.admit(exchange.conversation.client_key, exchange.record.wall)
        except errors.TooManyRequests as over:
            return over
    return error


def _method(exchange):
    """Return the method of the request, as octets, even if the rest is invalid: a response to HEAD must have no body.
    """
    if exchange.request is not None:
        return exchange.request.method
    return (exchange.head or exchange.client.buffer)[:HEAD_START].partition(b' ')[0]


def _break_off(exchange):
    """End a response that has begun and cannot be completed, so that the client notices that it is incomplete."""
    exchange.record.aborted = True
    if not exchange.delimited:
        exchange.client.abort()
    return exchange.conclude(False)


def _persists_behind(exchange, error):
    """Return True if the connection may carry another request after the refusal.

    git and dnf send each request without a log-in first, and then again on the same connection. They do that also with
    CONNECT and with requests that have a body. If more octets follow a CONNECT, the client has not waited for the
    answer, and those octets are not meant for this proxy (RFC 9931, 8).
    """
    request, body = exchange.request, exchange.body
    if request is not None and request.method == b'CONNECT' and (
            error.status != 407 or not exchange.client.is_quiet()):
        return False
    if error.status != 407:
        return not isinstance(error, errors.Killed) and exchange.persists()
    if body is not None and 0 < (body.left or 0) <= DISCARDED and not request.expects:
        relay.discard_body(body, exchange.client, exchange.proxy.waits.discard, exchange.pace_of_unwanted())
    return exchange.persists()

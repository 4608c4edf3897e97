"""Visits: a browser asks this proxy for a page, as if it were a web site. The pages are the table pages.proxy_port.

A visit is known by the form of its target, which proxies are not sent, and by where it leads. Whether a name leads here
is known only once it has been looked up, so a visit shows when its way to an origin ends. It is answered, not refused.
"""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.exchange import own_answers
from geproxy.http1.message import PORTS
from geproxy.pages import proxy_port
from geproxy.pages.proxy_port import ONLY_TLS

FORMS = ('origin', 'asterisk')      # of targets; a client that uses the proxy as a proxy sends other forms
# How the way of a request to an origin ends if it may have been meant for this proxy.
DEAD_ENDS = (errors.DnsError, errors.AddressUnknown, errors.Denied, errors.LoginRequired)


def is_visit(exchange, error):
    """Return True if the request of `exchange`, an Exchange, is for this proxy itself.

    `error`: the ProxyError with which its way to an origin has ended.
    """
    request = exchange.request
    if request is None or request.form not in FORMS or exchange.begun:
        return False
    return isinstance(error, errors.Ourselves) or isinstance(error, DEAD_ENDS) and exchange.proxy.access.may_be_ours(
        request.host, request.port or PORTS[b'http'], exchange.conversation.local[1])


def answer(exchange):
    """Send the page that `exchange`, an Exchange, asks for. Return True if another request may follow.

    May wait. Raises no ProxyError.
    """
    persists = exchange.persists()
    exchange.client.pace = None         # like all answers of our own, it is never slowed down
    conversation = exchange.conversation
    tls = ONLY_TLS if conversation.local in conversation.server.only_tls else exchange.proxy.speaks_tls
    try:
        exchange.respond(*page(exchange.request, exchange.head, not persists, tls))
        return exchange.conclude(persists)
    except (errors.ClientLost, errors.DownloadTimeout):
        return exchange.lose_client()


def page(request, head, close, tls):
    """Return the answer to a visitor, as (status code, octets).

    `request`: a message.Request; `head`: the octets of its head, as they came; needed for TRACE only; `close`: True if
    the connection ends behind the answer; `tls`: as for proxy_port.answer.
    """
    if request.method in (b'OPTIONS', b'TRACE'):
        return 200, own_answers.last_hop(request, head, close)
    return proxy_port.answer(request, close, tls)

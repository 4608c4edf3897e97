"""Turns an exchange into a tunnel, after CONNECT or a 101 (RFC 9110, 9.3.6 and 7.8). The copy loops are in `tunnel`."""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.exchange import fetch, tunnel
from geproxy.http1 import grammar


def connect(exchange):
    """Serve a CONNECT: connect to the origin, tell the client, and pass on octets both ways until the end. May wait.

    `exchange`: the Exchange. Raises what fetch.connect does, and the error that ends the tunnel too early.
    """
    connection = fetch.connect(exchange, reuse=False)
    exchange.record.tunnel = True       # not earlier: a request that is refused or cannot connect is no tunnel
    try:
        exchange.respond(200, exchange.conversation.dialect.established)
        if exchange.request.large:      # nothing of it is needed for a tunnel
            exchange.head = None
            exchange.request.forget()
            exchange.client.hold(0)
        exchange.proxy.observers.opened(exchange.record)
        _relay(exchange, connection.stream)
    finally:
        exchange.proxy.upstream.release(connection, exchange.conversation)


def switch_protocols(exchange, answer):
    """Pass on a 101 response, and then octets both ways until the end. Return False, as no other request follows.

    `exchange`: the Exchange; `answer`: the Answer with the 101. May wait. Raises UpgradeFailed if the client did not
    offer that protocol, and the error that ends the tunnel too early.
    """
    proxy, response = exchange.proxy, answer.response
    offered = [offer.lower() for offer in grammar.split_list([exchange.request.wants_upgrade(proxy.upgrades)])]
    chosen = grammar.split_list(response.values(b'upgrade'))
    if not chosen or any(choice.lower() not in offered for choice in chosen):
        raise errors.UpgradeFailed('the origin changes to a protocol that it was not asked for')
    if answer.upload is not None and answer.upload.finished is None:
        raise errors.UpgradeFailed('the origin changes protocols before it has the whole request')
    head = response.write(b'', proxy.vias[response.version], upgrade=b', '.join(chosen))
    exchange.client.send(exchange.begin(head, 101), proxy.waits.download)
    exchange.record.tunnel = True
    proxy.observers.opened(exchange.record)
    _relay(exchange, answer.source)
    return False


def _relay(exchange, origin):
    """Pass on octets both ways until both directions have ended. A reset on one side becomes a reset on the other."""
    exchange.delimited = False
    waits = exchange.proxy.waits
    try:
        tunnel.Tunnel(exchange.client, origin, waits.tunnel, waits.half_tunnel, exchange.tap).run()
    except errors.ClientLost:
        origin.abort()
        # Most programs that speak TLS never send close_notify, so this is their usual end. The origin gets a reset all
        # the same, because the proxy cannot know whether something is missing.
        if not getattr(exchange.client.transport, 'cut', False):
            raise
    except BaseException:       # after an error, a kill or a bug alike
        origin.abort()          # a reset, not a FIN: octets that were broken off must not look complete
        raise

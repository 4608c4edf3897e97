"""Sends an Answer to the client: writes its head anew and passes its body on. Does not know how it was fetched."""
from __future__ import absolute_import, division, print_function

import functools

from geproxy.exchange import open_tunnel, relay
from geproxy.exchange.fetch import logs_in
from geproxy.http1 import chunks, framing, grammar, responses
from geproxy.http1.taps import DOWN

SPECIAL = frozenset([401, 407, 426])    # status codes of responses that are about the connection itself
# Promises that the next log-in goes by the same connection: some clients log in only after that (RFC 4559, 6).
SESSION_BASED = b'Connection: Proxy-Support\r\nProxy-Support: Session-Based-Authentication\r\n'


def deliver(exchange, answer):
    """Pass a final response on to the client. Return True if the client's connection may carry another request.

    `exchange`: the Exchange; `answer`: the Answer that exchange.proxy.fetch returned. May wait. Raises ClientLost,
    UpstreamLost, BadResponse, and the errors of the time limits; then the caller aborts the answer.
    """
    response, body, proxy, upload = answer.response, answer.body, exchange.proxy, answer.upload
    if response.status == 101:
        return open_tunnel.switch_protocols(exchange, answer)
    if exchange.tap is not None and body is not None:
        body = answer.body = exchange.tap.body(DOWN, body)
    uploaded = exchange.body is None or exchange.body.done if upload is None else upload.finished is not None
    persists = uploaded and exchange.request.persists and not proxy.life.draining
    version, sized = exchange.request.version, body is not None and body.left is not None
    # A body without a length goes in chunks if the client knows them. So the client can tell a broken end from the end.
    chunked = body is not None and not sized and version >= (1, 1)
    if body is None:
        line = framing.bodiless_framing(response, version)
    else:
        line = body.framing if sized else chunks.CHUNKED_LINE if chunked else b''
        exchange.delimited = bool(line)
    upgrade = b''
    if response.status in SPECIAL:
        line, upgrade = _special(answer, line, persists)
    head = response.write(
        line, proxy.vias[response.version], b'' if response.dated else responses.date(), not persists, upgrade)
    exchange.record.response = response
    if body is None or sized and body.left <= len(answer.source.buffer) and exchange.client.pace is None:
        rest = b'' if body is None else body.take(answer.source)        # a small body is sent together with its head
        exchange.client.send(exchange.begin(head, response.status) + rest, proxy.waits.download)
    else:
        _copy(exchange, answer, head, chunked)
    if answer.connection is not None:
        answer.connection.clean = uploaded and answer.reusable and (body is None or body.delimited)
    if upload is not None:
        _await_upload(exchange, answer, persists)
    return persists


def _await_upload(exchange, answer, persists):
    """Let the request body go on behind the response: an origin that answers early may still want the rest."""
    if not persists and exchange.delimited:
        exchange.client.end()           # a client that reads until the end has the whole response (RFC 9112, 9.6)
    if answer.continued or not exchange.request.expects:
        answer.upload.wait(exchange.proxy.timeouts.linger)


def _special(answer, line, persists):
    """Return (field lines, Upgrade field value) for the head of a 401, 407 or 426. `line`: the field line that frames
    its body."""
    response = answer.response
    if response.status == 426:
        return line, b', '.join(grammar.split_list(response.values(b'upgrade')))
    if logs_in(response, b'www-authenticate', b'proxy-authenticate'):
        if answer.connection is not None:
            answer.connection.logged_in = True
        line += SESSION_BASED if persists else b''
    return line, b''


def _copy(exchange, answer, head, chunked):
    """Pass on `head` and a response body that has not arrived completely."""
    client, waits = exchange.client, exchange.proxy.waits
    # The head is sent as late as possible: if the first octets of the body are bad, the client can still get a 502.
    start = functools.partial(exchange.begin, head, answer.response.status)
    probe = functools.partial(client.send_now, b'0') if chunked else None
    relay.copy_body(answer.body, answer.source, client, (waits.body, waits.download), start, chunked, exchange.watch,
                    probe)

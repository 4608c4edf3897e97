"""Sends a request to its origin and reads the head of the response: connect, send, wait, try again where that is safe.

Every message is read, understood and written anew. The response may begin before the request has ended, so a request
body that has not arrived yet is sent by a second greenlet. Decides no policy, and sends the client nothing but interim
responses.
"""
from __future__ import absolute_import, division, print_function

import functools

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange import relay, routing
from geproxy.exchange.admission import PARSED, SCHEME
from geproxy.exchange.answers import Answer
from geproxy.exchange.client_watch import ClientWatch
from geproxy.http1 import framing, reading
from geproxy.http1.message import PORTS
from geproxy.net import memory
from geproxy.net.turns import give_way
from geproxy.policy.routes import directly

NOTHING, EXPECT = frozenset(), frozenset([b'expect'])       # names of fields that do not go on
# Schemes that log in a connection instead of a request (RFC 4559, and similar ones of Microsoft), in lower case.
CONNECTION_SCHEMES = frozenset([b'ntlm', b'negotiate', b'nego2', b'kerberos', b'credssp', b'livessp', b'pku2u'])
INTERIM_MOST = 100      # 1xx responses to one request; more are an attack


def layered(fetch, layers):
    """Return a function like `fetch` that goes through all layers.

    `fetch`: a function of an Exchange that returns an Answer; `layers`: functions of (Exchange, fetch) that return an
    Answer, the outermost first. A layer may call the `fetch` that it is given once, several times, or not at all. It
    may change what that returns, and raise a ProxyError.
    """
    for layer in reversed(layers):
        fetch = functools.partial(_through, layer, fetch)
    return fetch


def _through(layer, fetch, exchange):
    return layer(exchange, fetch)


def fetch(exchange):
    """Send the request of `exchange`, an Exchange, to its origin. Return the Answer. May wait.

    A kept connection may be dead. Then the request is sent once more, by a new connection, if it is safe to repeat. A
    request that is not safe to repeat uses a new connection at once, or one that is logged in for this client. If a
    parent closes without an answer, a request that is safe to repeat takes the next route. The exchange owns the
    connection of the Answer. Raises what `connect` does, and the errors of sending and reading.
    """
    if exchange.answer is not None:
        _repeat(exchange)
    reuse = repeatable = exchange.body is None and exchange.request.repeatable
    exchange.watch = ClientWatch(
        exchange.client, exchange.proxy.waits.half_closed, exchange.proxy.limits.head_size)
    tried = ()
    while True:
        connection = connect(exchange, reuse, tried)
        answer = exchange.answer = Answer(connection.stream, connection)
        try:
            _attempt(exchange, answer, connection, repeatable)
            return answer
        except errors.ProxyError as error:
            if answer.heard or exchange.begun or not isinstance(error, (errors.UpstreamLost, errors.BadResponse)):
                raise exchange.abort_answer(error)      # in no variable: its traceback would keep that alive
            # A kept connection was dead before this request came, or what it said was not meant for this request.
            if not (reuse and connection.kept):
                # A connection that leads to the origin itself has no other route: the origin may have got the request.
                tried = () if connection.parent is None else routing.go_elsewhere(exchange, connection, error, tried)
                if not (tried and repeatable):
                    raise exchange.abort_answer(error)
            exchange.abort_answer(error)
            reuse = False


def _repeat(exchange):
    """Prepare for another fetch of the same exchange, because a layer calls `fetch` again. Raises InternalError if the
    request has a body."""
    exchange.close_answer()
    if exchange.body is not None:
        raise errors.InternalError('a request with a body was to be sent twice')


def _attempt(exchange, answer, connection, repeatable):
    """Send the request by one connection, and read the head of its response into `answer`."""
    request, proxy = exchange.request, exchange.proxy
    if b'authorization' in request.index and logs_in(request, b'authorization'):
        connection.logged_in = True
    if exchange.body is None:
        write = request.write if connection.parent is None else routing.writer(request, connection.parent)
        connection.stream.send(write(
            b'', proxy.vias[request.version], NOTHING if request.expects else EXPECT, exchange.treatment.edits,
            proxy.upgrades), proxy.waits.stalled)
    else:
        _send_with_body(exchange, answer, connection)
    if request.large and not (
            repeatable and (connection.kept or connection.parent) or b'upgrade' in request.index or proxy.layers):
        request.forget()                # it will not be sent again
        exchange.client.hold(len(request.target))
    response = answer.response = _read_response(exchange, answer)
    if response.status == 408 and connection.kept and repeatable:
        raise errors.UpstreamLost('the origin gave up a kept connection')
    answer.heard = True
    if connection.parent is not None:
        routing.check_answer(exchange, answer, connection)
    if response.status != 101:
        body = answer.body = framing.response_body(response, request.method, proxy.limits)
        if not response.persists or body is None and not framing.is_clean(response):
            answer.reusable = False


def connect(exchange, reuse, tried=()):
    """Return a pool.Connection to the origin, which the caller releases. May wait.

    `exchange`: the Exchange; `reuse`: True if a kept connection may be used; `tried`: see routing.connect. Raises
    Denied and what Pool.connect does, and with routes what routing.connect does.
    """
    proxy, request, record = exchange.proxy, exchange.request, exchange.record
    waits = proxy.waits
    scheme = b'https' if request.method == b'CONNECT' else SCHEME
    way = directly[scheme, request.authority.host, request.port or PORTS[scheme]]
    if proxy.routes is not None:
        return routing.connect(exchange, way[0], reuse, tried)
    connection = proxy.upstream.connect(way, exchange.judge, (waits.dns, waits.connect), reuse, exchange.conversation)
    record.address, record.kept = connection.address, connection.kept
    if not connection.kept:
        record.took = connection.took
    if exchange.decision.allowed is None:       # decided for each attempt, as a retry may dial another address
        try:
            exchange.apply(exchange.judge(connection.address, connection.port))
        except Exception:       # the addresses of this host have changed meanwhile, or a bug
            proxy.upstream.release(connection, exchange.conversation)
            raise
    connection.stream.pace = exchange.treatment.up_pace     # set even if None: it may be that of another client
    return connection


# --- up

def _send_with_body(exchange, answer, connection):
    """Send the head and those octets of the body that have arrived. The upload of the Answer sends the rest."""
    request, body, proxy, edits = exchange.request, exchange.body, exchange.proxy, exchange.treatment.edits
    if not body.done:
        connection.bodies = True
    if edits.removed and body.left is None:
        body.dropped = body.dropped | edits.removed      # a field that policy removes must not come back as a trailer
    write = request.write if connection.parent is None else routing.writer(request, connection.parent)
    head = write(body.framing, proxy.vias[request.version], NOTHING if request.expects else EXPECT, edits,
                 proxy.upgrades)
    if body.left is not None and body.left <= len(exchange.client.buffer):
        # A small body is sent together with its head.
        connection.stream.send(head + body.take(exchange.client), proxy.waits.stalled)
        return
    connection.stream.send(head, proxy.waits.stalled)
    answer.upload = exchange.watch.upload = relay.BodyUpload(
        body, exchange.client, connection.stream, (proxy.waits.upload, proxy.waits.stalled))


# --- down

def _read_response(exchange, answer):
    """Return the head of the final response or of a 101. Pass interim responses on."""
    for number in range(INTERIM_MOST + 1):          # one more, for the final response
        response = _read_head(exchange, answer)
        if response.status >= 200 or response.status == 101:
            exchange.record.first = monotonic() - exchange.record.began
            return response
        if number == INTERIM_MOST:
            break
        answer.heard = True
        answer.reusable = answer.reusable and response.persists
        if response.status == 100:
            answer.continued = True
        if exchange.request.version >= (1, 1):      # HTTP/1.0 has no interim responses: RFC 9110, 15.2
            _pass_interim(exchange, response.write(b'', exchange.proxy.vias[response.version]))
        give_way()
    raise errors.BadResponse('more than %d interim responses' % INTERIM_MOST)


def _pass_interim(exchange, head):
    """Send the head of an interim response. If only a part of it is sent, no other response may follow, because the
    client would read it as the rest of this head."""
    client, before, ahead = exchange.client, exchange.client.sent, exchange.ahead
    octets = exchange.unsent(head)
    exchange.begun, exchange.delimited = True, False
    try:
        client.send(octets, exchange.proxy.waits.download)
    finally:
        sent = client.sent - before
        if sent == len(octets) or not sent and not ahead:       # all of it, or nothing
            exchange.begun, exchange.delimited = False, True


def _read_head(exchange, answer):
    """Wait for a response head, and watch the client meanwhile. Return the message.Response."""
    origin, limit, limits = answer.source, exchange.proxy.waits.response, exchange.proxy.limits
    deadline = _await_origin(exchange, origin, answer.upload)
    head = origin.read_head(limits.head_size, limit, deadline, reading.check_response_start)
    if head is None:
        raise errors.ResponseHeadTooLarge('the response head is larger than %d octets' % limits.head_size)
    if not head:
        if origin.buffer:
            raise errors.ResponseIncomplete('the origin closed the connection in the middle of a response head')
        raise errors.UpstreamLost('the origin closed the connection without a response')
    if len(head) > memory.FREE:
        origin.hold(PARSED * len(head))
    response = reading.parse_response(head, limits.fields)
    if response.behind:
        origin.unread(response.behind)
    return response


def _await_origin(exchange, origin, upload):
    """Wait until the origin sends something. Return the deadline for its whole head. Raises ResponseTimeout."""
    # While the request body is sent, only the limits of the body count. The time for the response starts afterwards.
    if upload is not None:
        exchange.watch.wait_for_upload(origin)
    limit = exchange.proxy.waits.response
    deadline = monotonic() + limit.seconds
    if upload is None or upload.over.is_set():
        if not exchange.watch.wait(origin, deadline, exchange.probe):
            raise limit.error('no response for %.3g s ([timeouts] response)' % limit.seconds)
    if not origin.buffer:
        origin.fill()
    return deadline


def logs_in(head, *names):
    """Return True if a field of one of these names is about a log-in of the whole connection.

    `head`: a message.Message; `names`: octets in lower case. A scheme counts at the beginning of a value and after each
    comma, even inside quotes. If that is wrong, the only harm is a connection that is not shared.
    """
    members = b','.join(value for name in names for value in head.values(name)).lower().split(b',')
    return any(CONNECTION_SCHEMES.intersection(member.split(None, 1)[:1]) for member in members)

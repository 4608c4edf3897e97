"""One request on its way to its origin, and the response on its way back. Decides nothing about who may.

Every message is read, understood and written anew. The response may begin before the request has ended, so a request
body that has not arrived yet goes up in a second greenlet.
"""
from __future__ import absolute_import, division, print_function

import functools

import gevent

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange import relay, tunnel
from geproxy.exchange.client_watch import ClientWatch
from geproxy.http1 import chunks, framing, grammar, reading, responses
from geproxy.net import memory
from geproxy.net.turns import give_way

NOTHING, EXPECT = frozenset(), frozenset([b'expect'])       # fields that are dealt with here
# Schemes that log in a connection instead of a request (RFC 4559 and Microsoft's relatives of it), in lower case.
CONNECTION_SCHEMES = frozenset([b'ntlm', b'negotiate', b'nego2', b'kerberos', b'credssp', b'livessp', b'pku2u'])
# Says that the next log-in will come by the same connection; some clients ask for that first (RFC 4559, 6).
SESSION_BASED = b'Connection: Proxy-Support\r\nProxy-Support: Session-Based-Authentication\r\n'
PARSED = 5              # octets in memory for each of a large head that is understood; 4.6 of 64 KB (3.11, 2026)
INTERIM_MOST = 100      # 1xx responses to one request; more are an attack


class Reply(object):
    """How much of the response to its request a client has got."""
    __slots__ = ('client', 'begun', 'delimited', 'ahead', 'status')

    def __init__(self, client):
        self.client = client
        self.begun = False          # a final response, or a tunnel
        self.delimited = True       # its end can be told from a broken connection
        self.ahead = 0              # octets of the next head that were sent already, to see if somebody is there
        self.status = 0

    def begin(self, octets, status):
        """A final response, or a tunnel, begins: what is still to be sent of its head."""
        self.begun, self.status = True, status
        return self.rest(octets) if self.ahead else octets

    def rest(self, octets):
        """What is still to be sent of a head."""
        octets, self.ahead = octets[self.ahead:], 0
        return octets

    def probe(self):
        """Send the first octet of the next head ahead."""
        if not self.ahead:
            self.ahead = self.client.send_now(b'H')


class Forward(object):
    """The way of one request."""
    __slots__ = ('request', 'body', 'client', 'reply', 'record', 'proxy', 'watch', 'continued', 'heard',
                 'repeatable', 'trusted')

    def __init__(self, request, body, client, reply, record, proxy):
        """`body`: see framing.request_body; `client`: its Stream; `proxy`: the Proxy, for settings and upstream."""
        self.request = request
        self.body = body
        self.client = client
        self.reply = reply
        self.record = record
        self.proxy = proxy
        self.watch = ClientWatch(client, proxy.waits.half_closed, proxy.limits.head_size)
        self.continued = False          # a 100 was passed on
        self.trusted = True             # no interim response was odd, so that the connection may be used again
        self.heard = False              # something that was meant as a response to this request has come
        self.repeatable = body is None and request.repeatable

    def run(self, connect, owner):
        """Do it; true if the client's connection may carry another request.

        `connect`: a function of (reuse) that returns a Connection, and the edits for Request.write; `owner`: the client
        connection, see Pool.connect.
        """
        # A kept connection may turn out dead: what cannot be repeated goes by a new one, or by one that is logged in.
        reuse = self.repeatable
        while True:
            connection, edits = connect(reuse)
            try:
                return self.attempt(connection, edits)
            except errors.ProxyError as error:
                # What is on its way must neither look whole nor wait for an origin that does not read.
                connection.stream.abort()
                # It was dead before we came, or what it said was not meant for us: once more, by a new one.
                retry = reuse and connection.kept and not self.heard and not self.reply.begun
                if not (retry and isinstance(error, (errors.UpstreamLost, errors.BadResponse))):
                    raise
                reuse = False
            finally:
                if connection.stream.held:
                    connection.stream.hold(0)
                self.proxy.upstream.release(connection, owner)

    def attempt(self, connection, edits):
        """The same, by one connection."""
        if b'authorization' in self.request.index and logs_in(self.request, b'authorization'):
            connection.logged_in = True
        if self.body is not None and not self.body.done:
            connection.bodies = True
        upload = self.watch.upload = self.send_request(connection.stream, edits)
        try:
            if self.request.large and not (connection.kept and self.repeatable or b'upgrade' in self.request.index):
                self.request.forget()   # it will not be sent again
                self.client.hold(len(self.request.target))
            response = self.read_response(connection.stream, upload)
            if response.status == 408 and connection.kept and self.repeatable:
                raise errors.UpstreamLost('the origin gave up a kept connection')
            self.heard = True
            if response.status == 101:
                return self.switch_protocols(response, connection.stream, upload)
            persists = self.deliver(response, connection, upload)
            if not persists and self.reply.delimited:
                self.client.end()       # whoever reads to the end has all of it (RFC 9112, 9.6)
            if upload is not None and (self.continued or not self.request.expects):
                # Who answers early may still want the rest.
                upload.wait(self.proxy.timeouts.linger)
            return persists
        except errors.ProxyError:
            if upload is not None and upload.error is not None:
                raise upload.error      # the cause; the rest is what it led to
            raise
        finally:
            if upload is not None:
                upload.stop()

    # --- up

    def send_request(self, origin, edits):
        """Send the head, and the body or what is there of it; the BodyUpload that sends the rest, or None."""
        request, body, waits = self.request, self.body, self.proxy.waits
        settled = NOTHING if request.expects else EXPECT
        if body is not None and edits.removed and body.left is None:
            body.dropped = body.dropped | edits.removed     # what policy takes from the head does not come as a trailer
        head = request.write(b'' if body is None else body.framing, self.proxy.vias[request.version], settled,
                             edits, self.proxy.upgrades)
        if body is not None and body.left is not None and body.left <= len(self.client.buffer):
            head += body.take(self.client)
            body = None                 # small bodies come along with their head
        origin.send(head, waits.stalled)
        if body is None:
            return None
        return relay.BodyUpload(body, self.client, origin, (waits.upload, waits.stalled))

    # --- down

    def read_response(self, origin, upload):
        """The final response's head, or that of a 101. Interim ones are passed on."""
        for number in range(INTERIM_MOST + 1):      # and the final one
            response = self.read_head(origin, upload)
            if response.status >= 200 or response.status == 101:
                self.record.first = monotonic() - self.record.began
                return response
            if number == INTERIM_MOST:
                break
            self.heard = True
            self.trusted = self.trusted and response.persists
            if response.status == 100:
                self.continued = True
            if self.request.version >= (1, 1):      # HTTP/1.0 knows none: RFC 9110, 15.2
                self.pass_interim(response.write(b'', self.proxy.vias[response.version]))
            give_way()
        raise errors.BadResponse('more than %d interim responses' % INTERIM_MOST)

    def pass_interim(self, head):
        """Send the head of an interim response. If that fails, or is killed, no other response may follow: it would
        stand in the middle of this head."""
        client, reply = self.client, self.reply
        before, ahead = client.sent, reply.ahead
        octets = reply.rest(head)
        reply.begun, reply.delimited = True, False
        try:
            client.send(octets, self.proxy.waits.download)
        finally:
            sent = client.sent - before
            if sent == len(octets) or not sent and not ahead:       # all of it, or nothing
                reply.begun, reply.delimited = False, True

    def read_head(self, origin, upload):
        """Wait for a response head, while the client is watched, and understand it."""
        limit, limits = self.proxy.waits.response, self.proxy.limits
        deadline = self.await_origin(origin, upload)
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

    def await_origin(self, origin, upload):
        """Wait until the origin says something; the deadline for its whole head. Raises ResponseTimeout."""
        # While the body goes up its own limits count, and the time for the response has not begun.
        if upload is not None:
            self.watch.wait_for_upload(origin)
        limit = self.proxy.waits.response
        deadline = monotonic() + limit.seconds
        if upload is None or upload.over.is_set():
            if not self.watch.wait(origin, deadline, self.reply.probe):
                raise limit.error('no response for %.3g s ([timeouts] response)' % limit.seconds)
        if not origin.buffer:
            origin.fill()
        return deadline

    def deliver(self, response, connection, upload):
        """Pass a final response on; true if the client's connection may carry another request."""
        request, proxy, origin = self.request, self.proxy, connection.stream
        body = framing.response_body(response, request.method, proxy.limits)
        uploaded = upload is None or upload.finished is not None
        persists = uploaded and request.persists and not proxy.life.draining
        sized = body is not None and body.left is not None
        # What has no length goes in chunks, to whoever knows them, so that a broken end looks broken.
        chunked = body is not None and not sized and request.version >= (1, 1)
        if body is None:
            line = framing.bodiless_framing(response, request.version)
        else:
            line = body.framing if sized else chunks.CHUNKED_LINE if chunked else b''
            self.reply.delimited = bool(line)
        upgrade = b', '.join(grammar.split_list(response.values(b'upgrade'))) if response.status == 426 else b''
        date = b'' if response.dated else responses.date()
        if response.status in (401, 407) and logs_in(response, b'www-authenticate', b'proxy-authenticate'):
            connection.logged_in = True
            line += SESSION_BASED if persists else b''
        head = response.write(line, proxy.vias[response.version], date, not persists, upgrade)
        self.record.response = response
        if body is None or sized and body.left <= len(origin.buffer) and self.client.pace is None:
            rest = b'' if body is None else body.take(origin)       # small bodies come along with their head
            self.client.send(self.reply.begin(head, response.status) + rest, proxy.waits.download)
        else:
            self.copy(body, origin, upload, head, response.status, chunked)
        connection.clean = (
            uploaded and response.persists and self.trusted and (
                framing.is_clean(response) if body is None else body.delimited))
        return persists

    def copy(self, body, origin, upload, head, status, chunked):
        """Pass a response body on that is not all there yet, and its head in front."""
        # Sent as late as can be: if the first octets of the body are bad, there may still be a 502.
        start = functools.partial(self.reply.begin, head, status)
        probe = (lambda: self.client.send_now(b'0')) if chunked else None
        limits = (self.proxy.waits.body, self.proxy.waits.download)
        relay.copy_body(body, origin, self.client, limits, start, chunked, self.watch, probe)

    def switch_protocols(self, response, origin, upload):
        """A 101: pass it on, and get out of the way (RFC 9110, 7.8)."""
        offered = [offer.lower() for offer in grammar.split_list([self.request.wants_upgrade(self.proxy.upgrades)])]
        chosen = grammar.split_list(response.values(b'upgrade'))
        if not chosen or any(choice.lower() not in offered for choice in chosen):
            raise errors.UpgradeFailed('the origin changes to a protocol that it was not asked for')
        if upload is not None and upload.finished is None:
            raise errors.UpgradeFailed('the origin changes protocols before it has the whole request')
        head = response.write(b'', self.proxy.vias[response.version], upgrade=b', '.join(chosen))
        self.client.send(self.reply.begin(head, 101), self.proxy.waits.download)
        self.record.tunnel = True
        self.proxy.observers.opened(self.record)
        relay_tunnel(self.client, origin, self.reply, self.proxy.waits)
        return False


def logs_in(head, *names):
    """Tell if a field of these names (in lower case) is about a log-in of the whole connection.

    A scheme counts at the beginning of a value and after each comma, even inside quotes. A mistake only means that a
    connection is not shared, although it could be.
    """
    members = b','.join(value for name in names for value in head.values(name)).lower().split(b',')
    return any(CONNECTION_SCHEMES.intersection(member.split(None, 1)[:1]) for member in members)


def relay_tunnel(client, origin, reply, waits):
    """Octets both ways, until both directions have ended. A reset on one side becomes one on the other."""
    reply.delimited = False
    try:
        tunnel.Tunnel(client, origin, waits.tunnel, waits.half_tunnel).run()
    except (errors.ProxyError, gevent.GreenletExit):
        origin.abort()          # no FIN: what was cut must not look whole
        raise

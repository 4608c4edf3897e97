"""The state of one request and its response: every step gets this object.

It begins with the first octet of a request and ends with the last octet of the response. State that outlives a request
is in `conversation`. Other wings use only `view()` and `end(error)` of an exchange. Decides nothing.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy.compat import monotonic
from geproxy.exchange import routing
from geproxy.net import workers
from geproxy.observe.record import Record


class View(collections.namedtuple('View', 'phase number began user method url address route rule received sent')):
    """An exchange as other wings see it: plain values at one moment.

    `phase`: one of conversation.PHASES; `number`: of the exchange, from which `id` is made; `began`: monotonic seconds;
    `user`, `method`, `url`: octets, b'' if not known; `address`: the one that was dialled, `route`: as in the Record,
    `rule`: file:line, all three native text, '' if there is none; `received`, `sent`: how many octets came from and
    went to the client so far.
    """
    __slots__ = ()
    id = Record.id          # the request id, native text; made only when asked for, as that takes a microsecond


_new = tuple.__new__        # twice as fast as to call View; /metrics looks at all exchanges


class Exchange(object):
    """One request and its response, from the first octet on. It keeps the Proxy (the settings) that it began with."""
    __slots__ = (
        'conversation', 'client', 'proxy', 'record',
        'head',             # octets of the request head; None if they are not needed any more
        'request',          # the message.Request; None until the head is understood
        'body',             # the request body, see framing.request_body
        'key',              # the key for limits, see rates.key_of; None until the user is known
        'question',         # the rules.Question for the policy
        'decision',         # the ruleset.Decision about the target; the address may still change the decision
        'treatment',        # the treatment.Treatment, see Proxy.treat
        'reaching',         # 'dns' or 'connect' while the proxy looks up or dials the origin, else ''
        'tap',              # the object that sees the octets of bodies and tunnels, see taps; or None
        'watch',            # the ClientWatch on the client, while the origin is waited for
        'answer',           # the answers.Answer whose connection is open, or was
        'begun',            # True once a final response, or a tunnel, has begun
        'delimited',        # True if the client can tell the end of the response from a broken connection
        'ahead',            # how many octets of the response head have been sent ahead, see `probe`
        'status')           # status code of the response that has begun, else 0

    def __init__(self, conversation):
        """Begin an exchange. `conversation`: the Conversation whose client has begun to send a request."""
        client = conversation.client
        self.conversation, self.client, self.proxy = conversation, client, conversation.server.proxy
        self.record = record = Record(client.peer)
        # Octets of earlier exchanges do not count for this one.
        record.received = len(client.buffer) - client.received
        record.sent = -client.sent
        client.pace = None
        self.head = self.request = self.body = self.key = self.question = self.decision = self.treatment = None
        self.watch = self.answer = self.tap = None
        self.reaching = ''
        self.begun, self.delimited, self.ahead, self.status = False, True, 0, 0

    def finish(self):
        """Complete the record and pass it to the observers. Call this once."""
        client, record = self.client, self.record
        record.received += client.received - len(client.buffer)
        record.sent += client.sent
        record.seconds = monotonic() - record.began
        record.status = self.status
        self.proxy.observers.ended(record)
        if client.held:
            client.hold(0)

    # --- for other wings

    def view(self):
        """Return a View of the exchange as it is now."""
        record, client = self.record, self.client
        return _new(View, (
            self._phase(), record.number, record.began, record.user, record.method, record.url, record.address,
            record.route, record.rule,
            record.received + client.received - len(client.buffer), record.sent + client.sent))

    def _phase(self):
        if self.request is None:
            return 'head'
        if self.begun:
            return 'tunnel' if self.record.tunnel else 'body'
        if self.reaching:
            return self.reaching
        if not self.record.address:
            return 'head'
        return 'waiting' if self.body is None or self.body.done else 'body'

    def end(self, error):
        """End the exchange, because of `error`, a ProxyError. Another greenlet calls this.

        Return the exception to throw into the greenlet of the exchange, or None if the greenlet is to be killed. If no
        response has begun, the client gets `error` as the response.
        """
        record = self.record
        if not record.reason and not self.begun:        # no refusal is on its way yet
            return workers.Interrupted(error)
        record.reason, record.message, record.aborted = error.token, str(error), True
        if not self.delimited:
            self.client.reset_on_close()        # the part that the client has must not look like the whole response
        return None

    # --- how much of the response has been sent

    def forget_response(self):
        """Note that nothing of a response has been sent."""
        self.begun, self.delimited, self.ahead, self.status = False, True, 0, 0

    def begin(self, head, status):
        """Note that a final response or a tunnel begins. Return the octets of the head that are still to be sent.

        `head`: the whole head, octets; `status`: its status code, an int.
        """
        self.begun, self.status = True, status
        return self.unsent(head) if self.ahead else head

    def unsent(self, head):
        """Return the octets of a response head that `probe` has not sent ahead. `head`: the whole head, octets."""
        octets, self.ahead = head[self.ahead:], 0
        return octets

    def probe(self):
        """Send the first octet of the next answer ahead. A client that has left answers with a reset."""
        if not self.ahead:
            self.ahead = self.client.send_now(self.conversation.dialect.first)

    def respond(self, status, octets):
        """Send a whole response that this proxy has made. May wait. Raises ClientLost, DownloadTimeout.

        `status`: its status code, an int; `octets`: its head and body.
        """
        self.client.send(self.begin(octets, status), self.proxy.waits.download)

    def persists(self):
        """Return True if the connection may carry another request: this one is valid and was read to its end."""
        return (self.request is not None and (self.body is None or self.body.done)
                and self.request.persists and not self.conversation.server.draining)

    def conclude(self, persists):
        """Note that the response has been sent. Return `persists`.

        `persists`: True if another request may follow. If not, the conversation lingers until the client has read the
        response.
        """
        if not persists and self.delimited:
            self.conversation.lingers = self.proxy, self._unwanted()
        return persists

    def lose_client(self):
        """Note that the client has left before it had the response of our own. Return False: no request follows."""
        self.record.aborted, self.status = True, 0
        return False

    def _unwanted(self):
        treatment = self.treatment
        return treatment and treatment.up_pace, self.key or self.conversation.client_key

    def pace_of_unwanted(self):
        """Return the rates.Pace for unwanted octets of the client, or None; see Proxy.pace_of_unwanted."""
        return self.proxy.pace_of_unwanted(*self._unwanted())

    # --- the way to the origin

    def apply(self, decision):
        """Set the treatment by `decision`, a ruleset.Decision. With `policy = report`, the record notes a refusal that
        would have happened, and the request goes on."""
        record, rule = self.record, decision.rule
        record.rule = rule.source if rule is not None else ''
        record.would = decision.why
        self.treatment = treatment = self.proxy.treat(self.request, self.client.peer, self.key, rule)
        self.client.pace = treatment.down_pace

    def judge(self, address, port):
        """Return the ruleset.Decision about an address that is about to be dialled. Raises Denied.

        `address`: native text; `port`: an int.
        """
        access = self.proxy.balanced_access if self.conversation.balanced else self.proxy.access
        return access.check_address(self.question, address, self.record.wall)

    def abort_answer(self, error):
        """Break off the connection to the origin. Return the error that was the cause.

        `error`: the ProxyError that was raised. If the upload of the request body failed before, its error was the
        cause.
        """
        answer = self.answer
        if answer is None:
            return error
        if answer.upload is not None:
            error = answer.upload.error or error
            answer.upload.error = None      # its traceback would keep this exchange alive
            answer.upload.stop()
        if answer.connection is not None:
            if answer.connection.parent is not None:
                error = routing.blamed(error, answer.connection.parent)
            # By a reset: octets on their way must not look complete, nor wait for an origin that does not read.
            answer.connection.stream.abort()
            self.close_answer()
        return error

    def close_answer(self):
        """Stop the upload of the request body, and give the connection to the origin back."""
        answer = self.answer
        connection, answer.connection = answer.connection, None
        try:
            if answer.upload is not None:
                answer.upload.stop()
        finally:
            if connection is not None:
                if connection.stream.held:
                    connection.stream.hold(0)
                self.proxy.upstream.release(connection, self.conversation)

"""The story of one client connection. Start reading here: `run`, then `exchange`.

No parser, no rule, no errno, no format stands in this file: it says what happens in which order, who closes what,
and what is remembered.
"""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.auth.logins import ANONYMOUS
from geproxy.compat import monotonic
from geproxy.exchange import forward, leaving, own_answers, relay, strangers
from geproxy.http1 import framing, grammar, protocols, reading, responses
from geproxy.http1.message import NO_EDITS, PORTS
from geproxy.limits import rates
from geproxy.net import memory, workers
from geproxy.net.address import show_ip
from geproxy.net.deadlines import TimeLimit
from geproxy.net.stream import Stream
from geproxy.net.turns import give_way, wait_turn
from geproxy.observe.record import Record
from geproxy.policy.rules import question_of
from geproxy.policy.ruleset import ALLOWED

SCHEME = b'http'        # of a target that names none: clients come by plain connections
HEAD_START = 32         # octets: enough for a method
EMPTY_LINES = 1024      # octets of empty lines before a request; clients send one line, and more is an attack
SWALLOWED = 64 * 1024   # octets of a body that are read only so that the connection can go on
BRIEFLY = 1.0           # seconds to linger for a client that has no place here, or when the process is to stop
STOPPING = TimeLimit('drain', BRIEFLY, errors.IdleTimeout)


class Handler(object):
    """One client connection. Each exchange keeps the Proxy that it began with, whatever the server has meanwhile."""

    def __init__(self, sock, ip, place, server):
        """`sock`: a socket, which is closed here; `ip`: the client's IP, no mapped one; `place`: of the listener, as
        (address, port); `server`: has the Proxy of today as `proxy`, and `draining`, true if the process is to
        stop."""
        self.client = Stream(sock, show_ip(ip), errors.ClientLost)
        self.ip = ip
        self.proxy = server.proxy
        self.client_key = rates.key_of(None, self.client.peer, self.proxy.limits.ipv6_prefix)
        self.vouched = False            # who the client is, only a PROXY header says
        self.local = place
        self.server = server
        self.waiting = False            # for a request, or for the client to hang up: nothing is going on
        self.fresh = True               # no request has come yet
        self.since = monotonic()
        self.number = 0                 # among the connections of this process; the server gives it
        self.reaching = ''              # 'dns' or 'connect': what is going on to reach the origin
        self.lingers = False            # what was sent last must arrive
        self.let_in = None              # the Access that says that this is a client
        self.record = self.reply = self.up_pace = None      # of the exchange that is going on
        self.request = self.head = self.body = self.question = self.edits = self.depends = self.key = None

    def run(self):
        """Serve the connection to its end, and close it."""
        try:
            while self.exchange():
                self.fresh = False
                if self.client.buffer:          # more requests may be there, and each be answered without a wait
                    self.waiting = True
                    give_way()
            if self.lingers:
                self.waiting, self.fresh = True, False
                self.client.linger(BRIEFLY if self.server.draining else self.proxy.timeouts.linger, self.swallowing)
        finally:
            self.server.proxy.upstream.leave(self)
            self.client.close()

    def turn_away(self, error):
        """Refuse a connection for which there is no room, in the protocol that the client speaks, and close it."""
        try:
            self.begin()
            error.kind = strangers.hear(self.client, strangers.GLANCE)
            self.refuse(error)
            self.finish()
            self.client.linger(BRIEFLY)
        finally:
            self.client.close()

    def hurry(self):
        """Called by the server when the process is to stop: who waits for nothing in particular is not waited for."""
        if self.waiting:
            self.client.shorten_wait(monotonic() + BRIEFLY, STOPPING)      # not at once; see await_request

    def swallowing(self):
        """How fast octets that nobody wants are swallowed -> a limits.Pace, or None."""
        return self.up_pace.uncharged() if self.up_pace else self.proxy.pace_up(self.key or self.client_key)

    def cut(self, error):
        """Called by the server just before it ends the greenlet: remember why what is going on ends here.

        Returns what to throw into the greenlet: a workers.Interrupted if the client waits for a response and has
        nothing of it yet, so that it gets `error` as that; None if the greenlet has to be killed.
        """
        record = self.record
        if record is None or self.waiting:
            return None
        if not record.reason and not self.reply.begun:      # `exchange` has not come to `refuse` yet
            return workers.Interrupted(error)
        record.reason, record.message, record.aborted = error.token, str(error), True
        if not self.reply.delimited:
            self.client.reset_on_close()                              # what the client has must not look whole
        return None

    def exchange(self):
        """Carry one request up and its response down; true if another may follow."""
        if not self.await_request():
            return False
        self.begin()
        try:
            if self.let_in is not self.proxy.access:        # a reload may have changed who is a client
                self.check_client()
            self.read_request()
            self.identify()
            self.check()
            if self.request.method == b'CONNECT':
                return self.tunnel()
            if self.request.hops == 0:
                return self.answer(200, own_answers.last_hop(self.request, self.head, not self.persists()))
            return self.forward()
        except errors.ProxyError as error:
            return self.refuse(error)
        except workers.Interrupted as interrupted:
            return self.refuse(interrupted.error)
        except Exception:
            self.proxy.report_bug(self.record)
            return self.refuse(errors.InternalError('a bug; the log has its traceback'))
        finally:
            self.finish()

    # --- before and after

    def await_request(self):
        """Wait for the first octet of a request; false if there will be none."""
        client, server = self.client, self.server
        limit = server.proxy.waits.first if self.fresh else server.proxy.waits.another
        # Before a stop, too: a first request is on its way, and who sends one after the other is told by the next
        # answer to go elsewhere, instead of by an end that the next request might meet.
        deadline = monotonic() + (BRIEFLY if server.draining else limit.seconds)
        most = client.received + EMPTY_LINES
        self.waiting = True
        try:
            if self.fresh and not client.buffer and not client.ended:
                client.fill()       # mostly it is there already, and there is nothing to wait for
            # Some clients send an empty line behind a request with a body: RFC 9112, 2.2
            while not client.buffer or client.buffer[:1] == b'\r' and (
                    client.received <= most and not client.skip_empty_lines()):
                if not client.ended:
                    client.wait(limit, deadline)
                if client.ended or client.fill() == 0:
                    return False
            return True
        except (errors.IdleTimeout, errors.ClientLost):
            return False                # silently: nothing has begun
        finally:
            self.waiting = False
            self.proxy = server.proxy

    def begin(self):
        """Remember that an exchange has begun."""
        self.record = Record(self.client.peer)
        # Octets of earlier exchanges do not count for this one.
        self.record.received = len(self.client.buffer) - self.client.received
        self.record.sent = -self.client.sent
        self.reply = forward.Reply(self.client)
        self.client.pace = self.up_pace = self.key = None

    def finish(self):
        """Tell, once, what happened."""
        record = self.record
        record.received += self.client.received - len(self.client.buffer)
        record.sent += self.client.sent
        record.seconds = monotonic() - record.began
        record.status = self.reply.status
        self.proxy.observe(record)
        if self.client.held:
            self.client.hold(0)
        # Who is idle keeps nothing of it: 0.9 KiB of 10.4 where heads are small (3.13, 2026).
        self.record = self.reply = self.request = self.head = self.body = self.question = None

    def check_client(self):
        """Ask the policy of today whether this is a client. Raises Denied if it is a stranger."""
        access = self.proxy.access
        access.check_client(self.ip)
        self.let_in = access

    # --- reading the request

    def read_request(self):
        """Wait for the whole head, and understand it."""
        client, most = self.client, self.proxy.limits
        limit = self.proxy.waits.head
        deadline = self.record.began + limit.seconds
        if self.fresh:
            while protocols.undecided(client.buffer) and not client.ended:
                client.wait(limit, deadline)
                client.fill()
            protocols.check(client.buffer)
        head = client.read_head(most.head_size, limit, deadline, reading.check_request_start)
        if head is None:
            if b'\n' not in client.buffer:
                raise errors.TargetTooLong('the request line is longer than %d octets' % most.head_size)
            raise errors.HeadTooLarge('the request head is larger than %d octets' % most.head_size)
        if not head:
            raise errors.ClientLost('the client ended the connection in the middle of a request head')
        self.head = head
        if len(head) > memory.FREE:
            client.hold(forward.PARSED * len(head))
            wait_turn()                 # to understand one of 64 KB may take 10 ms
        request = reading.parse_request(head, most.fields)
        record, url = self.record, request.url or request.url_for(SCHEME)
        record.method, record.version, record.url = request.method, request.protocol, url
        self.body = framing.request_body(request, most)
        self.request = request
        if request.passed_by(self.proxy.name_octets):
            raise errors.LoopDetected('this request has been here before: its Via names %s' % self.proxy.name)

    def identify(self):
        """Who is asking?"""
        request, user = self.request, ANONYMOUS
        self.key = self.client_key
        if self.proxy.book is not None:
            user = self.log_in()
        self.question = question_of((
            self.ip, user.name, user.groups, request.method, request.host, request.port or PORTS[SCHEME]))

    def log_in(self):
        """The User, or ANONYMOUS; whoever asks in vain has asked."""
        proxy = self.proxy
        leaving.watch(self)
        try:
            user = proxy.identify(self.request, self.client.peer, self.ip)
        except (errors.LoginRequired, errors.LoginFailed):
            proxy.admit(self.key, self.record.wall)
            raise
        finally:
            leaving.forget(self)
        if user.name is not None:
            self.record.user, self.key = user.name, rates.key_of(user.name, self.client.peer)
        return user

    def check(self):
        """May it go on? Raises what speaks against it."""
        proxy, wall = self.proxy, self.record.wall
        if proxy.counts:
            proxy.admit(self.key, wall)
        decision = proxy.access.check_target(self.question, wall)
        self.depends = decision.allowed is None
        self.edits = NO_EDITS
        if decision is not ALLOWED or proxy.treats:
            self.follow(decision)
        if self.request.unmet is not None:
            raise errors.ExpectationFailed("nobody here can meet '%s'" % grammar.printable(self.request.unmet, 40))

    def follow(self, decision):
        """Do as a ruleset.Decision has it, which only the address may have settled."""
        rule = decision.rule
        self.record.rule = rule.place if rule is not None else ''
        self.record.would = decision.why        # with policy = report: it goes on nevertheless
        self.edits, self.up_pace, self.client.pace = self.proxy.treat(self.request, self.client.peer, self.key, rule)

    # --- ways through

    def reach(self, what):
        """Called while the origin is reached: 'dns' or 'connect' is waited for, or '', nothing any more."""
        if not self.reaching:
            leaving.watch(self)
        self.reaching = what
        if not what:
            leaving.forget(self)

    def connect(self, reuse):
        """A Connection to the origin, which whoever called releases, and what policy edits in the request."""
        waits = self.proxy.waits
        key = (self.request.authority.host, self.request.port or PORTS[SCHEME])
        connection = self.proxy.upstream.connect(key, self.judge, (waits.dns, waits.connect), reuse, self)
        record = self.record
        record.address, record.kept = connection.address, connection.kept
        if not connection.kept:
            record.took = connection.took
        if self.depends:
            self.follow(self.judge(connection.address, key[1]))     # each time: a retry may dial another
        connection.stream.pace = self.up_pace           # None too: it may have been another's
        return connection, self.edits

    def judge(self, address, port):
        """May this client reach that address? Asked for each one that is about to be dialled. The Decision."""
        access = self.proxy.vouched_access if self.vouched else self.proxy.access
        return access.check_address(self.question, address, self.record.wall)

    def forward(self):
        """To the origin and back."""
        self.head = None                # what is needed of it is in the request
        way = forward.Forward(self.request, self.body, self.client, self.reply, self.record, self.proxy)
        persists = way.run(self.connect, self)
        return self.end(persists)

    def tunnel(self):
        """CONNECT: reach the origin, say so, and get out of the way (RFC 9110, 9.3.6)."""
        connection, _edits = self.connect(reuse=False)
        self.record.tunnel = True       # only now: what is refused, or out of reach, is none
        try:
            self.respond(200, responses.ESTABLISHED)
            if self.request.large:      # nothing of it is needed for a tunnel
                self.head = None
                self.request.forget()
                self.client.hold(0)
            self.proxy.opened(self.record)
            forward.relay_tunnel(self.client, connection.stream, self.reply, self.proxy.waits)
        finally:
            self.proxy.upstream.release(connection, self)
        return False

    def answer(self, status, octets):
        """Answer a request that goes no further; true if another may follow."""
        self.respond(status, octets)
        return self.end(self.persists())

    # --- saying no

    def refuse(self, error):
        """The one exit for all that goes wrong; true if another request may follow."""
        record, client = self.record, self.client
        client.pace = None              # what says no is never held back
        try:
            error = self.counted(error)
            if self.request is not None and not self.reply.begun and own_answers.is_asked_for(
                    self.request, error, self.proxy.access, self.local[1]):
                return self.answer(*own_answers.page(self.request, self.head, not self.persists()))
            record.reason, record.message, record.rule = error.token, str(error), error.rule or record.rule
            if isinstance(error, errors.QuotaExceeded) and not client.sent + record.sent:
                self.reply = forward.Reply(client)      # what was about to begin was held back
            if self.reply.begun:
                return self.break_off()
            persists = self.persists_behind(error)
            if error.kind:
                self.reply.status = error.status
                client.send(protocols.REFUSALS[error.kind], self.proxy.waits.download)
            else:
                self.respond(error.status, responses.failure(
                    error, self.proxy.name, record.id, self.method(), not persists, self.proxy.auth.realm))
            return self.end(persists)
        except (errors.ClientLost, errors.DownloadTimeout):
            record.aborted = True       # nobody is there to be told
            self.reply.status = 0
            return False

    def counted(self, error):
        """Return the error to refuse with: a request that is refused before anybody asks who sent it counts, too."""
        if self.key is None and not isinstance(error, (errors.ClientLost, errors.HeadTimeout)):
            try:
                self.proxy.admit(self.client_key, self.record.wall)
            except errors.TooManyRequests as over:
                return over
        return error

    def method(self):
        """What came as the method, however bad the rest is: the answer to HEAD has no body. b'' if there is none."""
        if self.request is not None:
            return self.request.method
        return (self.head or self.client.buffer)[:HEAD_START].partition(b' ')[0]

    def break_off(self):
        """A response has begun and cannot be ended: make sure that the client can tell."""
        self.record.aborted = True
        if not self.reply.delimited:
            self.client.abort()
        return self.end(False)

    def respond(self, status, octets):
        """Send a response of our own."""
        self.client.send(self.reply.begin(octets, status), self.proxy.waits.download)

    def persists_behind(self, error):
        """True if the connection may carry another request behind a refusal.

        git and dnf come once without a name, and then once more on the same connection, CONNECT or a body or not. A
        client that has sent more behind its CONNECT does not wait for the answer: that is not for us (RFC 9931, 8).
        """
        if self.request is not None and self.request.method == b'CONNECT' and (
                error.status != 407 or not self.client.is_quiet()):
            return False
        if error.status != 407:
            return not isinstance(error, errors.Killed) and self.persists()
        body = self.body
        if body is not None and 0 < (body.left or 0) <= SWALLOWED and not self.request.expects:
            relay.swallow(body, self.client, self.proxy.waits.swallow, self.swallowing())
        return self.persists()

    def persists(self):
        """True if the connection may carry another request: the last one is understood, and all read."""
        return (self.request is not None and (self.body is None or self.body.done)
                and self.request.persists and not self.server.draining)

    def end(self, persists):
        """The response is sent; if it is the last, see that it arrives."""
        self.lingers = not persists and self.reply.delimited
        return persists

"""One client connection from its beginning to its end. Start reading here: `run`, then `exchange`.

This file has no parser, no rule, no errno and no format. It says what happens in which order, and which code closes
what. The state of a single request is in an Exchange.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange import dialects, leaving, open_tunnel, own_answers, strangers, visits
from geproxy.exchange.admission import check, identify, read_request
from geproxy.exchange.deliver import deliver
from geproxy.exchange.state import Exchange
from geproxy.exchange.refusing import refuse
from geproxy.limits import rates
from geproxy.net import tcp_info, workers
from geproxy.net.address import show_ip
from geproxy.net.deadlines import TimeLimit
from geproxy.net.stream import Stream
from geproxy.net.turns import give_way

EMPTY_LINES = 1024      # octets of empty lines allowed before a request: clients send one line, attackers send more
BRIEFLY = 1.0           # seconds to linger for a client that is turned away, or when the process is about to stop
STOPPING = TimeLimit('drain', BRIEFLY, errors.IdleTimeout)
# The phases of a connection. handshake: TLS begins; head: the request is read and checked; dns, connect: the name is
# looked up, the origin is dialled; waiting: the response has not begun; body: a body is passed on; linger: the last
# response is sent, and the client has to end the connection; idle: the next request may come.
PHASES = ('handshake', 'head', 'dns', 'connect', 'waiting', 'body', 'tunnel', 'linger', 'idle')

# A connection as other wings see it. `number`: an int, unique in this process; `client`: address of the client, native
# text; `listener`: (address, port) that the client came to; `since`: when it began, in monotonic seconds; `phase`: one
# of PHASES; `exchange`: the state.View of the request that is on its way, or None.
View = collections.namedtuple('View', 'number client listener since phase exchange')
_new = tuple.__new__


class Conversation(object):
    """One client connection, with all that outlives a single request."""
    __slots__ = (
        'client',           # its Stream
        'ip',               # of the client
        'client_key',       # the key for limits while no user has logged in, see rates.key_of
        'balanced',         # True if a load balancer names the client, by a PROXY header
        'local',            # (address, port) of the listener
        'server',           # its attribute `proxy` is the Proxy that holds now; `draining`: the process is to stop
        'dialect',          # the protocol that the client speaks, see dialects
        'certified',        # the user name in the client's certificate, octets; None without one
        'fresh',            # True while no request has been served
        'since',            # when the connection began, in monotonic seconds
        'number',           # an int, unique in this process; the server sets it
        'let_in',           # the Access that has accepted this client
        'current',          # the Exchange that is on its way, or None
        'lingers')          # None, or if the last response must still arrive: (Proxy, arguments of pace_of_unwanted)

    def __init__(self, sock, ip, local, server):
        """Take over a client connection; `run` serves it.

        `sock`: its socket, which `run` closes; `ip`: the client's IP, not a mapped one; `local`: (address, port) of the
        listener; `server`: has `proxy`, the Proxy that holds now, and `draining`, True if the process is to stop.
        """
        self.client = Stream(sock, show_ip(ip), errors.ClientLost)
        self.ip = ip
        self.client_key = rates.key_of(None, self.client.peer, server.proxy.limits.ipv6_prefix)
        self.balanced = False
        self.local, self.server, self.dialect = local, server, dialects.HTTP
        self.fresh = True
        self.since = monotonic()
        self.number = 0
        self.let_in = self.current = self.lingers = self.certified = None

    def run(self):
        """Serve the connection to its end, and close it. May wait."""
        try:
            while self.exchange():
                self.fresh = False
                if self.client.buffer:          # more requests may be there that are answered without a wait
                    give_way()
            if self.lingers is not None:
                proxy, unwanted = self.lingers
                self.client.linger(BRIEFLY if self.server.draining else proxy.timeouts.linger,
                                   lambda: proxy.pace_of_unwanted(*unwanted))
        finally:
            self.server.proxy.upstream.leave(self)
            self.client.close()

    def exchange(self):
        """Carry one request up and its response down. Return True if another may follow. May wait."""
        if not self.await_request():
            return False
        exchange = self.current = Exchange(self)
        try:
            exchange.proxy.observers.began(exchange.record)
            if self.let_in is not exchange.proxy.access:    # a reload may have changed who is a client
                self.check_client()
            read_request(exchange)
            identify(exchange)
            check(exchange)
            if exchange.request.method == b'CONNECT':
                return open_tunnel.connect(exchange)
            if exchange.request.hops == 0:
                return self.answer(exchange)
            return self.forward(exchange)
        except errors.ProxyError as error:
            return visits.answer(exchange) if visits.is_visit(exchange, error) else refuse(exchange, error)
        except workers.Interrupted as interrupted:
            return refuse(exchange, interrupted.error)
        except Exception:
            exchange.proxy.report_bug(exchange.record)
            return refuse(exchange, errors.InternalError('a bug; the log has its traceback'))
        finally:
            exchange.finish()
            self.current = None         # an idle connection keeps nothing of it

    # --- before a request

    def await_request(self):
        """Wait for the first octet of a request. Return False if none comes."""
        client, server = self.client, self.server
        limit = server.proxy.waits.first if self.fresh else server.proxy.waits.another
        # Wait before a stop, too. A first request may be on its way. A client that sends request after request learns
        # from the next answer that the connection ends; if we closed now, its next request could be lost.
        deadline = monotonic() + (BRIEFLY if server.draining else limit.seconds)
        most = client.received + EMPTY_LINES
        try:
            if self.fresh and not client.buffer and not client.ended:
                client.fill()       # mostly the request is there already, and no wait is needed
            # Some clients send an empty line after a request with a body: RFC 9112, 2.2
            while not client.buffer or client.buffer[:1] == b'\r' and (
                    client.received <= most and not client.skip_empty_lines()):
                if not client.ended:
                    client.wait(limit, deadline)
                if client.ended or client.fill() == 0:
                    return False
            return True
        except (errors.IdleTimeout, errors.ClientLost):
            return False            # no record is made, because no request has begun

    def check_client(self):
        """Ask the policy that holds now whether this is a client. Raises Denied if it is a stranger."""
        access = self.server.proxy.access
        access.check_client(self.ip)
        self.let_in = access

    # --- ways through

    def answer(self, exchange):
        """Answer an OPTIONS or TRACE that goes no further (RFC 9110, 7.6.2). Return as `exchange()` does.

        `exchange`: its Exchange. May wait. Raises ClientLost, DownloadTimeout.
        """
        persists = exchange.persists()
        exchange.respond(200, own_answers.last_hop(exchange.request, exchange.head, not persists))
        return exchange.conclude(persists)

    def forward(self, exchange):
        """Fetch the answer through the layers, deliver it, and give the connection to the origin back.

        `exchange`: its Exchange. May wait. Return as `exchange()` does. Raises a ProxyError if that fails.
        """
        if exchange.request.method != b'TRACE':     # our answer to a TRACE repeats the head
            exchange.head = None                    # all that is still needed is in the request
        try:
            return exchange.conclude(deliver(exchange, exchange.proxy.fetch(exchange)))
        except errors.ProxyError as error:
            raise exchange.abort_answer(error)
        finally:
            if exchange.answer is not None:
                exchange.close_answer()

    # --- for other wings

    def view(self):
        """Return a View of the connection as it is now."""
        exchange = self.current and self.current.view()
        phase = exchange.phase if exchange else 'linger' if self.lingers is not None else (
            'idle' if getattr(self.client.transport, 'established', True) else 'handshake')
        return _new(View, (self.number, self.client.peer, self.local, self.since, phase, exchange))

    def silence(self):
        """Return the seconds since the last octets went in any direction; None if the kernel does not say."""
        return tcp_info.silence(self.client.transport)

    def end(self, error):
        """End the exchange that is on its way, because of `error`, a ProxyError. Return as Exchange.end does."""
        return self.current and self.current.end(error)

    def end_soon(self):
        """Make an idle connection end within a second, because the process is to stop."""
        if self.current is None:
            self.client.shorten_wait(monotonic() + BRIEFLY, STOPPING)      # why not at once: see await_request

    def turn_away(self, error):
        """Refuse the connection because there is no room for it, and close it. May wait.

        `error`: the ProxyError that says why. The client gets it in the protocol that it speaks.
        """
        try:
            exchange = self.current = Exchange(self)
            exchange.proxy.observers.began(exchange.record)
            error.kind = strangers.detect_protocol(self.client, strangers.BRIEF_WAIT)
            refuse(exchange, error)
            exchange.finish()
            self.client.linger(BRIEFLY)
        finally:
            self.client.close()

    # --- as the owner of connections to origins, see Pool.connect

    @property
    def key(self):
        """The key for limits of the request that is on its way, see rates.key_of."""
        return self.current.key

    def reach(self, what):
        """Note which step towards the origin has begun. `what`: 'dns', 'connect', or '' when the last one has ended."""
        exchange = self.current
        if not exchange.reaching:
            leaving.watch(exchange)
        exchange.reaching = what
        if not what:
            leaving.forget(exchange)

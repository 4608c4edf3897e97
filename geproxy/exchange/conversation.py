"""The story of one client connection. Start reading here: `run`, then `exchange`.

No parser, no rule, no errno, no format stands in this file: it says what happens in which order, and who closes what.
What one request has on its way is in an Exchange.
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

EMPTY_LINES = 1024      # octets of empty lines before a request; clients send one line, and more is an attack
BRIEFLY = 1.0           # seconds to linger for a client that is turned away, or when the process is to stop
STOPPING = TimeLimit('drain', BRIEFLY, errors.IdleTimeout)
# What a connection can be doing. head: its request is read and judged; dns, connect: the origin is being reached;
# waiting: for the response; body: a body is passed on; linger: the last response is sent, and the client has to end the
# connection; idle: the next request may come.
PHASES = ('head', 'dns', 'connect', 'waiting', 'body', 'tunnel', 'linger', 'idle')

# What others may know of a connection. `number`: among the connections of this process; `client`: its address, native
# text; `listener`: (address, port) that it came to; `since`: monotonic seconds; `phase`: one of PHASES; `exchange`: the
# state.View of the request that is on its way, or None.
View = collections.namedtuple('View', 'number client listener since phase exchange')
_new = tuple.__new__


class Conversation(object):
    """One client connection, with all that outlives a single request."""
    __slots__ = (
        'client',           # its Stream
        'ip',               # of the client
        'client_key',       # whom the limits count while nobody has logged in, as of rates.key_of
        'balanced',         # True if a load balancer names the client, by a PROXY header
        'local',            # (address, port) of the listener
        'server',           # has the Proxy of today as `proxy`, and `draining`
        'dialect',          # the protocol that the client speaks, see dialects
        'fresh',            # True while no request has been served
        'since',            # monotonic seconds
        'number',           # among the connections of this process; the server gives it
        'let_in',           # the Access that says that this is a client
        'current',          # the Exchange that is on its way; None while nothing is
        'lingers')          # None, or the last response must arrive: (Proxy, what Proxy.pace_of_unwanted takes)

    def __init__(self, sock, ip, local, server):
        """`sock`: a socket, which is closed here; `ip`: of the client, not a mapped one; `local`: (address, port) of
        the listener; `server`: has the Proxy of today as `proxy`, and `draining`, True if the process is to stop."""
        self.client = Stream(sock, show_ip(ip), errors.ClientLost)
        self.ip = ip
        self.client_key = rates.key_of(None, self.client.peer, server.proxy.limits.ipv6_prefix)
        self.balanced = False
        self.local, self.server, self.dialect = local, server, dialects.HTTP
        self.fresh = True
        self.since = monotonic()
        self.number = 0
        self.let_in = self.current = self.lingers = None

    def run(self):
        """Serve the connection to its end, and close it. May wait."""
        try:
            while self.exchange():
                self.fresh = False
                if self.client.buffer:          # more requests may be there, and each be answered without a wait
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
        """Wait for the first octet of a request. Return False if there will be none."""
        client, server = self.client, self.server
        limit = server.proxy.waits.first if self.fresh else server.proxy.waits.another
        # Before a stop, too: a first request is on its way, and a client that sends one request after the other is told
        # by the next answer to go elsewhere, instead of by an end that the next request might meet.
        deadline = monotonic() + (BRIEFLY if server.draining else limit.seconds)
        most = client.received + EMPTY_LINES
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
            return False            # without a record: no request has begun

    def check_client(self):
        """Ask the policy of today whether this is a client. Raises Denied if it is a stranger."""
        access = self.server.proxy.access
        access.check_client(self.ip)
        self.let_in = access

    # --- ways through

    def answer(self, exchange):
        """Answer an OPTIONS or TRACE that goes no further (RFC 9110, 7.6.2)."""
        persists = exchange.persists()
        exchange.respond(200, own_answers.last_hop(exchange.request, exchange.head, not persists))
        return exchange.conclude(persists)

    def forward(self, exchange):
        """Fetch the answer, through the layers, and deliver it. The connection to the origin ends here in any case."""
        if exchange.request.method != b'TRACE':     # the answer of our own to that repeats the head
            exchange.head = None                    # what is needed of it is in the request
        try:
            return exchange.conclude(deliver(exchange, exchange.proxy.fetch(exchange)))
        except errors.ProxyError as error:
            raise exchange.abort_answer(error)
        finally:
            if exchange.answer is not None:
                exchange.close_answer()

    # --- as others see it

    def view(self):
        """Return a View: plain values, as they are now."""
        exchange = self.current and self.current.view()
        phase = exchange.phase if exchange else 'idle' if self.lingers is None else 'linger'
        return _new(View, (self.number, self.client.peer, self.local, self.since, phase, exchange))

    def silence(self):
        """Return the seconds since octets last went either way, as the kernel has it; None if it does not say."""
        return tcp_info.silence(self.client.transport)

    def end(self, error):
        """End what is on its way, because of a ProxyError; see Exchange.end for what is returned."""
        return self.current and self.current.end(error)

    def end_soon(self):
        """Have an idle connection end within a second, as the process is to stop."""
        if self.current is None:
            self.client.shorten_wait(monotonic() + BRIEFLY, STOPPING)      # not at once; see await_request

    def turn_away(self, error):
        """Refuse the connection, as there is no room for it, in the protocol that the client speaks, and close it. May
        wait. `error`: the ProxyError that says why."""
        try:
            exchange = self.current = Exchange(self)
            exchange.proxy.observers.began(exchange.record)
            error.kind = strangers.hear(self.client, strangers.GLANCE)
            refuse(exchange, error)
            exchange.finish()
            self.client.linger(BRIEFLY)
        finally:
            self.client.close()

    # --- as the owner of connections to origins, see Pool.connect

    @property
    def key(self):
        """Whom the limits count for the request that is on its way."""
        return self.current.key

    def reach(self, what):
        """Note what is waited for to reach the origin: 'dns', 'connect', or '' if it is over."""
        exchange = self.current
        if not exchange.reaching:
            leaving.watch(exchange)
        exchange.reaching = what
        if not what:
            leaving.forget(exchange)

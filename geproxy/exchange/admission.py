"""The first steps of an exchange: read the request, find out which user sends it, and ask the policy. Sends nothing.

Each step is a function of an Exchange; it raises the ProxyError with which the request is refused.
"""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.auth.logins import ANONYMOUS
from geproxy.exchange import leaving
from geproxy.exchange.socks_dialect import SocksDialect
from geproxy.http1 import framing, grammar, protocols, reading
from geproxy.http1.message import PORTS
from geproxy.http1.taps import UP
from geproxy.limits import rates
from geproxy.net import memory
from geproxy.net.address import within
from geproxy.net.turns import wait_turn
from geproxy.policy.rules import question_of
from geproxy.policy.ruleset import ALLOWED
from geproxy.policy.treatment import PLAIN

SCHEME = b'http'        # the scheme of a target that names none, because clients come by plain connections
PARSED = 5      # octets of memory that each octet of a large head takes once it is parsed; 4.6 of 64 KB (3.11, 2026)


def read_request(exchange):
    """Wait for the whole request head, and parse it. Sets `head`, `request` and `body` of `exchange`, an Exchange.

    Raises HeadTimeout, ClientLost, WrongProtocol, SpoofedClient, TargetTooLong, HeadTooLarge, BadRequest,
    VersionNotSupported, NotImplementedHere, MemoryFull, LoopDetected; with SOCKS also what SocksDialect.read_request
    does.
    """
    client, most, conversation = exchange.client, exchange.proxy.limits, exchange.conversation
    limit = exchange.proxy.waits.head
    deadline = exchange.record.began + limit.seconds
    request = None
    if conversation.fresh:
        while protocols.undecided(client.buffer) and not client.ended:
            client.wait(limit, deadline)
            client.fill()
        kind = protocols.check(client.buffer, exchange.proxy.spoken)
        if kind:
            conversation.dialect = SocksDialect(kind)
            request = conversation.dialect.read_request(exchange, log_in, must_log_in)
    if request is None:
        head = client.read_head(most.head_size, limit, deadline, reading.check_request_start)
        if not head:
            raise _no_head(client, head, most)
        exchange.head = head
        if len(head) > memory.FREE:
            client.hold(PARSED * len(head))
            wait_turn()                 # parsing a head of 64 KB may take 10 ms
        request = reading.parse_request(head, most.fields)
    exchange.record.request = request
    exchange.body = framing.request_body(request, most)
    exchange.request = request
    if request.passed_by(exchange.proxy.name_octets):
        raise errors.LoopDetected('this request has been here before: its Via names %s' % exchange.proxy.name)


def _no_head(client, head, most):
    """Return the error for a head that Stream.read_head did not find. `head`: what it returned."""
    if head is not None:
        return errors.ClientLost('the client ended the connection in the middle of a request head')
    if b'\n' not in client.buffer:
        return errors.TargetTooLong('the request line is longer than %d octets' % most.head_size)
    return errors.HeadTooLarge('the request head is larger than %d octets' % most.head_size)


def identify(exchange):
    """Find out which user sends the request, and prepare the question for the policy. May wait for a log-in.

    Sets `key` and `question` of `exchange`, an Exchange. Raises what Proxy.by_certificate and Proxy.identify do, and
    TooManyRequests.
    """
    conversation, request, user = exchange.conversation, exchange.request, ANONYMOUS
    exchange.key = conversation.client_key
    if exchange.proxy.logs_in:
        user = log_in(exchange)
    exchange.question = question_of((
        conversation.ip, user.name, user.groups, request.method, request.host,
        request.port or PORTS[SCHEME]))


def must_log_in(exchange):
    """Return True if this client has to send a name and a password. Raises CertificateRequired.

    `exchange`: an Exchange.
    """
    proxy, conversation = exchange.proxy, exchange.conversation
    return proxy.logs_in and not within(conversation.ip, proxy.auth.exempt) and (
        proxy.by_certificate(conversation.certified, conversation.ip) is None)


def log_in(exchange):
    """Return the logins.User, or ANONYMOUS. A request whose log-in fails counts for the limits as well. May wait.

    `exchange`: an Exchange, whose `key` is set. Raises what Proxy.by_certificate and Proxy.identify do, and
    TooManyRequests.
    """
    proxy, record, conversation = exchange.proxy, exchange.record, exchange.conversation
    leaving.watch(exchange)
    try:
        user = proxy.by_certificate(conversation.certified, conversation.ip)
        if user is None:
            credentials = conversation.dialect.credentials(exchange.request)
            user = proxy.identify(credentials, record.client, conversation.ip)
    except (errors.LoginRequired, errors.LoginFailed, errors.CertificateRequired):
        proxy.admit(exchange.key, record.wall)
        raise
    finally:
        leaving.forget(exchange)
    if user.name is not None:
        record.user, exchange.key = user.name, rates.key_of(user.name, record.client)
    return user


def check(exchange):
    """Ask limits and policy whether the request may go on. Sets `decision` and `treatment` of `exchange`, an Exchange.

    Raises TooManyRequests, QuotaExceeded, Denied, ExpectationFailed.
    """
    proxy, request, wall = exchange.proxy, exchange.request, exchange.record.wall
    if proxy.counts:
        proxy.admit(exchange.key, wall)
    decision = exchange.decision = proxy.access.check_target(exchange.question, wall)
    exchange.treatment = PLAIN
    if decision is not ALLOWED or proxy.treats:
        exchange.apply(decision)
    if proxy.tap is not None:
        tap = exchange.tap = proxy.tap(exchange)
        if tap is not None and exchange.body is not None:
            exchange.body = tap.body(UP, exchange.body)
    if request.unmet is not None:
        raise errors.ExpectationFailed("this proxy cannot meet '%s'" % grammar.printable(request.unmet, 40))

"""Lets clients speak TLS to this proxy: looks how a connection begins, and does the handshake.

What begins as a TLS handshake is TLS, everything else is as without TLS. One octet tells: no other protocol here begins
with it. It is looked at and stays on the socket, because TLS reads from the socket itself.
"""
from __future__ import absolute_import, division, print_function

import socket

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange.state import Exchange
from geproxy.net import certificates
from geproxy.net.stream import Stream
from geproxy.net.tcp_info import has_ended
from geproxy.net.tls import SIGN, Failure, TlsTransport, peek
from geproxy.net.transport import READ
from geproxy.net.turns import Fair

BRIEFLY = 1.0       # seconds for a client to read the alert that ends its handshake, or until the process stops
MOST_WAITING = 1000     # handshakes of one client that are under way, and need the processor, at a time
# How handshakes end. failed: what the client sent was wrong, or it left; late: it took too long; refused: the client
# has begun too many.
OUTCOMES = ('done', 'failed', 'late', 'refused')
ONLY_TLS = 'this port speaks TLS: use https:// in the proxy URL'
NO_CERTIFICATE = 'this port speaks TLS, and this proxy has no certificate now: set [tls] certificate'
TLS_HINT = 'Set up the client with https://HOST:PORT for this proxy, and with the CA that signed its certificate.'

# What OpenSSL says, as its versions have it, and what that means for people. The first that occurs in it is used.
MEANINGS = (
    ('peer did not return a certificate', 'the client sent no certificate'),
    ('certificate verify failed', 'the certificate of the client is not valid here'),
    ('alert unknown ca', 'the client does not trust the authority of the certificate of this proxy'),
    ('certificate', 'the client does not accept the certificate of this proxy'),
    ('no shared cipher', 'the client has no cipher that this proxy has'),
    ('unsupported protocol', 'the client speaks too old a version of TLS'),
    ('version too low', 'the client speaks too old a version of TLS'),
    ('alert protocol version', 'the client does not speak this version of TLS'),
    ('wrong version number', 'what the client sent is no TLS'),
    ('http', 'what the client sent is no TLS'),
    ('alert', 'the client gave up'),
)


class Handshakes(object):
    """The handshakes of all clients. `counts`: {one of OUTCOMES: how many}."""

    def __init__(self):
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self._turns = Fair()

    def pass_through(self, conversation, context, only):
        """Do the handshake, if the client begins one. Return True if the connection goes on. May wait.

        `conversation`: a Conversation that is admitted, and of whose client nothing has been read; its `client` and
        `certified` are changed; `context`: the ssl.SSLContext of the server, or None if there is no certificate now;
        `only`: True if the port takes nothing but TLS. Raises WrongProtocol or TooManyRequests for a client that must
        be told.
        """
        first = _look(conversation)
        if not first:
            conversation.client.close()
            return False
        # What is in the buffer was read before there was a certificate, and TLS cannot get it any more.
        begins = first == SIGN[:1] and not conversation.client.buffer
        if not begins and not only:
            return True
        if not begins or context is None:
            raise _wrong(NO_CERTIFICATE if context is None else ONLY_TLS)
        try:
            self._admit(conversation)
        except errors.TooManyRequests:
            self.counts['refused'] += 1
            raise
        return self._encrypt(conversation, context)

    def _admit(self, conversation):
        """Count the handshake for the limits. Raises TooManyRequests."""
        client = conversation.client_key
        if self._turns.waiting(client) >= MOST_WAITING:
            raise errors.TooManyRequests('client %s has begun %d TLS handshakes at once' % (
                client, MOST_WAITING + 1), 1)
        conversation.server.proxy.admit_handshake(client)

    def _encrypt(self, conversation, context):
        """Do the handshake. Return True if it is done; else it is recorded, and the connection closed. Waits."""
        done = False
        try:
            self._shake(conversation, context)
            self.counts['done'] += 1
            done = True
        except errors.IdleTimeout:
            pass                            # the process stops
        except errors.HandshakeTimeout as error:
            self._fail(conversation, 'late', error)
        except (socket.error, errors.ClientLost) as error:
            self._fail(conversation, 'failed', errors.HandshakeFailed(_explain(error)))
            if isinstance(error, Failure):
                _let_read(conversation)
        finally:
            if not done:
                conversation.client.close()
        return done

    def _shake(self, conversation, context):
        """Go on until both sides agree. Raises HandshakeTimeout; socket.error or ClientLost if it fails."""
        server, client = conversation.server, conversation.client_key
        limit = server.proxy.waits.handshake
        deadline = monotonic() + limit.seconds
        wanted = self._turns.work(client, lambda: _begin(conversation, context))
        while wanted is not None:
            if monotonic() > deadline:
                raise limit.error('no whole TLS handshake in %.3g s ([timeouts] %s)' % (limit.seconds, limit.name))
            if server.draining:
                deadline = min(deadline, monotonic() + BRIEFLY)
            if wanted == READ:
                conversation.client.wait(limit, deadline)
            else:
                conversation.client.wait_writable(limit, deadline)
            wanted = self._turns.work(client, conversation.client.transport.handshake)
        conversation.certified = certificates.user_of(conversation.client.transport.certificate())

    def _fail(self, conversation, outcome, error):
        """Count and record a handshake that has failed. `outcome`: one of OUTCOMES; `error`: the ProxyError."""
        self.counts[outcome] += 1
        exchange = Exchange(conversation)
        record = exchange.record
        exchange.proxy.observers.began(record)
        record.reason, record.message, record.aborted = error.token, str(error), True
        exchange.finish()


def _wrong(message):
    """Return the WrongProtocol for a client of a port that takes nothing but TLS. `message`: native text."""
    error = errors.WrongProtocol(message, '')
    error.hint = TLS_HINT           # that of other ports is to use http://
    return error


def _begin(conversation, context):
    """Put TLS on the connection, and do the first step of the handshake. Return what TlsTransport.handshake does."""
    client = conversation.client
    if has_ended(client.transport):
        # It left while it waited for its turn, as the clients of a flood do: the work would be for nothing.
        raise errors.ClientLost('the client left')
    transport = TlsTransport(client.transport, context)
    conversation.client = Stream(transport, client.peer, errors.ClientLost)
    return transport.handshake()


def _let_read(conversation):
    """Read what the client still sends, so that it gets the alert before the connection ends. Waits."""
    client = conversation.client
    conversation.client = Stream(client.transport.socket, client.peer, errors.ClientLost)
    conversation.client.linger(BRIEFLY)


def _look(conversation):
    """Return the first octet of a client, which stays on the socket; b'' if none comes in time. May wait."""
    client, server = conversation.client, conversation.server
    if client.ended or client.buffer:       # a load balancer has sent nothing, or more than its header
        return client.buffer[:1]
    limit = server.proxy.waits.first
    deadline = monotonic() + (BRIEFLY if server.draining else limit.seconds)
    try:
        first = peek(client.transport, 1)
        while first is None:
            client.wait(limit, deadline)
            first = peek(client.transport, 1)
        return first
    except (errors.IdleTimeout, socket.error):
        return b''


def _explain(error):
    """Return why a handshake failed, native text. `error`: a socket.error or ClientLost."""
    if not isinstance(error, Failure):
        return 'the client ended the connection in the middle of the TLS handshake'
    reason = str(error.args[-1])
    meaning = next((words for sign, words in MEANINGS if sign in reason), 'what the client sent is wrong')
    return 'TLS handshake failed: %s (%s)' % (meaning, reason)

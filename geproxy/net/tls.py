"""A Transport that speaks TLS, on either side. Waits for nothing; where it would have to, it says so by EAGAIN.

It uses the object that Python's ssl module itself is built on (`_ssl._SSLSocket`), as gevent's does, because it alone
is the same on 2.7 and 3.14 and works on a socket that never waits. Half-closing works: after close_notify was sent,
octets still come.
"""
from __future__ import absolute_import, division, print_function

import errno
import re
import socket
import ssl

from geproxy.compat import INTEGERS, NativeSocket
from geproxy.net.transport import READ, WRITE, Transport

PIECE = 16 * 1024       # octets of one send; a TLS record has at most so many (RFC 8446, 5.1)
# How a TLS client begins: a handshake record of SSL 3.0 to TLS 1.3 (RFC 8446, 5.1).
SIGN = b'\x16\x03'
_NO_NOTIFY = ('EOF occurred in violation of protocol', 'UNEXPECTED_EOF', 'unexpected eof')
_words = re.compile(r'\[.*?\] (.+?)(?: \(_ssl\.c:\d+\))?\Z').match


class Socket(NativeSocket):
    """A native socket that can be referred to weakly, as the ssl module asks for on Python 3."""


class Failure(socket.error):
    """TLS failed for good: what the other side sent, or what it thinks of us. Its text is for people."""

    def __init__(self, message):
        """`message`: native text."""
        socket.error.__init__(self, errno.EPROTO, message)


class TlsTransport(Transport):
    """TLS on a socket. Before anything else, call `handshake` until it returns None."""

    def __init__(self, sock, context, name=None):
        """Put TLS on a connection.

        `sock`: a connected native socket, of which nothing has been read, and which must not be used any more
        afterwards; `context`: an ssl.SSLContext; `name`: the name of the server as native text if we are the client,
        None if we are the server.
        """
        Transport.__init__(self, _weak(sock))
        self.socket.settimeout(0.0)
        self._name = name
        try:
            self._tls = self._wrap(context, name)
        except BaseException:           # the socket that the caller has is no longer the one to close
            self.socket.close()
            raise
        self._piece = b''           # what TLS has begun to send: it has to be the same when it goes on
        self._ended = False         # the peer has sent its close_notify
        self._notified = False      # ours was sent

    def _wrap(self, context, name):
        try:
            return context._wrap_socket(self.socket, name is None, name, self)      # Python 2
        except TypeError:
            made = context._wrap_socket(self.socket, name is None, name)
            made.owner = self           # what the callback for the server's name is called with
            return made

    def handshake(self):
        """Go on with the handshake. Return None if it is done, else READ or WRITE: what to wait for.

        Raises Failure, or socket.error if the connection breaks.
        """
        try:
            self._tls.do_handshake()
            self._check_name()
            return None
        except ssl.SSLWantReadError:
            return READ
        except ssl.SSLWantWriteError:
            return WRITE
        except (ssl.SSLError, ssl.CertificateError, EnvironmentError) as error:
            raise _translated(error)

    def _check_name(self):
        """See that the certificate is for the server that was asked for. From Python 3.7 on, OpenSSL has done that."""
        match = getattr(ssl, 'match_hostname', None)
        if match is not None and self._name is not None and self._tls.context.check_hostname:
            match(self.certificate(), self._name)

    def use(self, context):
        """Use the certificate of another context, during the handshake only. `context`: an ssl.SSLContext."""
        self._tls.context = context

    def recv(self, most):
        """Return up to `most` decoded octets, see Transport.recv. Only close_notify is an end: a cut is an error."""
        if self._ended:
            return b''
        try:
            data = self._tls.read(most)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise socket.error(errno.EAGAIN, 'no whole TLS record is there yet')
        except ssl.SSLZeroReturnError:
            data = b''
        except (ssl.SSLError, EnvironmentError) as error:
            raise _translated(error)
        self._ended = not data
        return data

    def send(self, data):
        """Send `data`, octets or a view, see Transport.send. After EAGAIN the same octets have to come again."""
        piece = self._piece or _octets(data[:PIECE])
        if self._piece and _octets(data[:len(piece)]) != piece:
            raise socket.error(errno.EAGAIN, 'TLS goes on with other octets first')
        try:
            sent = self._tls.write(piece)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._piece = piece
            raise socket.error(errno.EAGAIN, 'the peer takes nothing more just now')
        except (ssl.SSLError, EnvironmentError) as error:
            raise _translated(error)
        self._piece = b''
        return sent

    def pending(self):
        """See Transport."""
        return self._ended or self._tls.pending()

    def shutdown(self, how):
        """End one direction or both, ours with close_notify. `how`: as for socket.shutdown."""
        if how != socket.SHUT_RD and not self._notified and not self._piece:
            self._notified = True
            try:
                self._tls.shutdown()
            except (ssl.SSLError, EnvironmentError):
                pass                # it was sent, and the answer of the peer has not come; or the peer is gone
        if how != socket.SHUT_WR:
            self.socket.shutdown(how)

    def close(self):
        """Say close_notify, if that is still to be said, and close the socket."""
        self.shutdown(socket.SHUT_WR)
        self.socket.close()

    def describe(self):
        """Return (version, cipher) as native text, for people."""
        return str(self._tls.version()), str(self._tls.cipher()[0])

    def certificate(self):
        """Return the verified certificate of the peer as a dictionary (see ssl.SSLSocket.getpeercert); {} if none."""
        ask = getattr(self._tls, 'getpeercert', None) or self._tls.peer_certificate
        return ask(False) or {}


def _octets(data):
    """Return what `data`, octets or a view of octets, holds."""
    return data.tobytes() if isinstance(data, memoryview) else data


def _weak(sock):
    """Return a Socket for the descriptor of `sock`, which has it no more; on Python 2 sockets need not be weak."""
    if not hasattr(sock, 'detach'):
        return sock
    return Socket(sock.family, sock.type, sock.proto, sock.detach())


def _translated(error):
    """Return a Failure or socket.error for what the ssl module has raised."""
    if isinstance(error, ssl.SSLEOFError) or any(sign in str(error) for sign in _NO_NOTIFY):
        return socket.error(errno.ECONNRESET, 'the TLS connection was cut, without close_notify')
    if isinstance(error, ssl.CertificateError) and not isinstance(error, ssl.SSLError):
        return Failure(str(error))
    if isinstance(error, ssl.SSLError):
        # Python 2.7 has names for the errors of an old OpenSSL only, and takes wrong ones for those of a newer one.
        words = _words(str(error.args[-1]))
        return Failure(words.group(1) if words else str(error))
    if not error.args or not isinstance(error.args[0], INTEGERS) or error.args[0] == 0:
        return socket.error(errno.ECONNRESET, 'the TLS connection was cut')
    return error

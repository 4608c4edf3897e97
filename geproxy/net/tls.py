"""A Transport that speaks TLS, on either side. Waits for nothing; where it would have to, it says so by EAGAIN.

It uses the object that Python's ssl module itself is built on (`_ssl._SSLSocket`), as gevent's does, because it alone
is the same on 2.7 and 3.14 and works on a socket that never waits. From Python 3 on, it gets the octets from memory, a
few at a time. Half-closing works: after close_notify was sent, octets still come.
"""
from __future__ import absolute_import, division, print_function

import errno
import os
import re
import socket
import ssl

from geproxy.compat import INTEGERS, NativeSocket
from geproxy.net.transport import READ, WRITE, Transport
from geproxy.net.unix_sockets import close_on_exec

PIECE = 16 * 1024       # octets of one send; a TLS record has at most so many (RFC 8446, 5.1)
# How a TLS client begins: a handshake record of SSL 3.0 to TLS 1.3 (RFC 8446, 5.1).
SIGN = b'\x16\x03'
FEED = 20 * 1024        # octets that OpenSSL is given at once: a record and a bit, since its buffers stay that large
TASTE = 2 * 1024        # the same, if the last ones brought no data
FEEDS = 3               # times in a row, while there is no data
# Octets that may come without data. A KeyUpdate (RFC 8446, 4.6.3) has 27, and costs us 0.2 ms (OpenSSL 3.0, 2026).
USELESS = 24 * 1024
_scratch = bytearray(FEED)      # filled and emptied without a wait between
_AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
_made = []              # see _aside
_Memory = getattr(ssl, 'MemoryBIO', None)       # octets for OpenSSL; Python 2 has none
_NO_NOTIFY = ('EOF occurred in violation of protocol', 'UNEXPECTED_EOF', 'unexpected eof')
_words = re.compile(r'\[.*?\] (.+?)(?: \(_ssl\.c:\d+\))?\Z').match


def peek(sock, most):
    """Return octets that have come on a socket, and leave them to be read.

    `sock`: a native socket that never waits; `most`: how many octets at most. Returns b'' at the end, None if nothing
    has come yet. Raises socket.error.
    """
    try:
        return sock.recv(most, socket.MSG_PEEK)
    except socket.error as error:
        if error.args[0] in _AGAIN:
            return None
        raise


class Socket(NativeSocket):
    """A native socket that can be referred to weakly, as the ssl module asks for on Python 3."""


class Failure(socket.error):
    """TLS failed for good: what the other side sent, or what it thinks of us. Its text is for people."""

    def __init__(self, message):
        """`message`: native text."""
        socket.error.__init__(self, errno.EPROTO, message)


class TlsTransport(Transport):
    """TLS on a socket. Before anything else, call `handshake` until it returns None.

    `cut`: True once the peer has ended its direction without close_notify, which was raised as an error.
    """

    def __init__(self, sock, context, name=None):
        """Put TLS on a connection.

        `sock`: a connected native socket, of which nothing has been read, and which must not be used any more
        afterwards; `context`: an ssl.SSLContext; `name`: the name of the server as native text if we are the client,
        None if we are the server.
        """
        Transport.__init__(self, _weak(sock))
        self.socket.settimeout(0.0)
        self._name, self.established = name, False
        self._in = self._out = None     # what OpenSSL reads and writes; None on Python 2: then it uses the socket
        self._unsent = b''              # of what it wrote
        self._coded = False             # the piece that is being sent is in there
        self._useless = 0               # octets that have come since the last data
        try:
            self._tls = self._wrap(context, name)
        except BaseException:           # the socket that the caller has is no longer the one to close
            self.socket.close()
            raise
        self._piece = b''           # what TLS has begun to send: it has to be the same when it goes on
        self._ended = False         # the peer has sent its close_notify
        self._notified = False      # ours was sent, or must not be
        self._parting = b''         # what is still to be sent of it
        self._ahead = b''           # decoded, and not read yet
        self._failure = None        # the error of a read that has also read something
        self.cut = False            # the peer has ended its direction without close_notify

    def _wrap(self, context, name):
        if _Memory is None:             # Python 2, where TLS 1.3 is off for this reason
            return context._wrap_socket(self.socket, name is None, name, self)
        # OpenSSL reads on and on while a peer sends records without data, and nobody else would be served. So it gets
        # no socket, but a few octets at a time.
        self._in, self._out = _Memory(), _Memory()
        made = context._wrap_bio(self._in, self._out, name is None, name)
        made.owner = self               # what the callback for the server's name is called with
        return made

    def _call(self, call, *arguments):
        """Return what a function of OpenSSL returns. Feed it FEEDS times at most. Raises what it does."""
        if self._in is None:
            return call(*arguments)
        if self._unsent:
            self._flush(FEED)
        try:
            for _ in range(FEEDS):
                try:
                    return call(*arguments)
                except ssl.SSLWantReadError:
                    self._flush(FEED)
                    self._feed()
            return call(*arguments)
        finally:
            try:
                self._flush()           # for instance an alert
            except EnvironmentError:
                pass                    # what has been read, or why not, is worth more; the next call tells this

    def _feed(self):
        """Give OpenSSL what has come. Raises SSLWantReadError if nothing has, or socket.error."""
        try:
            count = self.socket.recv_into(_scratch, TASTE if self._useless and self.established else FEED)
        except socket.error as error:
            if error.args[0] in _AGAIN:
                raise ssl.SSLWantReadError('nothing has come')
            raise
        if not count:
            self._in.write_eof()
            return
        self._in.write(memoryview(_scratch)[:count])
        self._useless += count
        if self._useless > USELESS and self.established:
            raise Failure('%d octets of TLS records have come without any data in them' % self._useless)

    def _flush(self, most=0):
        """Send what OpenSSL wrote. Raises SSLWantWriteError if more than `most` octets of it stay, or socket.error."""
        if self._out.pending:
            self._unsent += self._out.read()
        while self._unsent:
            try:
                sent = self.socket.send(self._unsent)
            except socket.error as error:
                if error.args[0] not in _AGAIN:
                    raise
                if len(self._unsent) > most:
                    raise ssl.SSLWantWriteError('the peer takes nothing more just now')
                return
            self._unsent = self._unsent[sent:]

    def handshake(self):
        """Go on with the handshake. Return None if it is done, else READ or WRITE: what to wait for.

        Raises Failure, or socket.error if the connection breaks.
        """
        try:
            self._call(self._tls.do_handshake)
            if self._in is not None:
                self._flush()
            self._check_name()
            self._useless = 1           # so that the first octets are a taste
            self.established = True
            return None
        except ssl.SSLWantReadError:
            return WRITE if self._unsent else READ
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
        return self._read(most)

    def recv_into(self, buffer, most):
        """Read up to `most` decoded octets into `buffer`, see Transport: several records of a peer that sends much."""
        view, count = memoryview(buffer), 0
        while count < most:
            try:
                got = self._read(most - count, view[count:most])
            except socket.error as error:
                if not count:
                    raise
                self._failure = error if error.args[0] != errno.EAGAIN else None    # it is told once
                break
            count += got
            if got < PIECE:
                break
        return count

    def _read(self, most, *into):
        """Read one piece. `into`: a view of where to, and then its size is returned; without it, octets."""
        if self._ahead:
            return self._read_ahead(most, *into)
        if self._ended:
            return 0 if into else b''
        if self._failure is not None:
            raise self._failure
        try:
            got = self._call(self._tls.read, most, *into)
            self._useless = 0
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            # It wants to write to answer a KeyUpdate (RFC 8446, 4.6.3).
            self.awaits = WRITE if isinstance(error, ssl.SSLWantWriteError) else READ
            raise socket.error(errno.EAGAIN, 'no whole TLS record is there yet')
        except ssl.SSLZeroReturnError:
            got = 0 if into else b''
        except (ssl.SSLError, EnvironmentError) as error:
            self.cut = _is_cut(error)
            raise _translated(error)
        self._ended = not got
        return got

    def _read_ahead(self, most, *into):
        data, self._ahead = self._ahead[:most], self._ahead[most:]
        for view in into:
            view[:len(data)] = data
        return len(data) if into else data

    def send(self, data):
        """Send `data`, octets or a view, see Transport.send. After EAGAIN the same octets have to come again."""
        view = memoryview(data)
        if self._piece and view[:len(self._piece)] != self._piece:
            raise socket.error(errno.EAGAIN, 'TLS goes on with other octets first')
        sent = 0
        while sent < len(view):
            piece = self._piece or view[sent:sent + PIECE]
            try:
                sent += self._write(piece)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._piece = _octets(piece)
                if sent:
                    break
                raise socket.error(errno.EAGAIN, 'the peer takes nothing more just now')
            except (ssl.SSLError, EnvironmentError) as error:
                raise _translated(error)
            self._piece = b''
        return sent

    def _write(self, piece):
        """Code and send a piece. Return its size. After SSLWantWriteError the same piece has to come again."""
        if self._in is None:
            return self._tls.write(piece)
        self._flush()
        if not self._coded:
            self._tls.write(piece)
            self._coded = True
            self._flush()
        self._coded = False
        return len(piece)

    def pending(self):
        """See Transport."""
        return self._ended or self._ahead or self._tls.pending() or self._in is not None and self._in.pending

    def shutdown(self, how):
        """End one direction or both. `how`: as for socket.shutdown.

        Only the end of our direction alone is told by close_notify; this raises socket.error with EAGAIN while the peer
        takes nothing more. To end both is to break off, and must not look like an end.
        """
        if how == socket.SHUT_WR:
            self._notify()
        else:
            self.socket.shutdown(how)

    def _notify(self):
        if self._piece:
            return                  # the record that has begun cannot be completed, so this is no clean end
        if not self._notified:
            self._notified = True
            self._parting = self._close_notify()
        while self._parting:
            self._parting = self._parting[self.socket.send(self._parting):]

    def _close_notify(self):
        """Return the record with close_notify, as octets to be sent; b'' if there can be none any more.

        Python's ssl module does not stop after it has sent close_notify: it reads the next record, too, and breaks the
        connection if that has data (RFC 8446, 6.1, allows data). So for this moment, another socket, on which nothing
        comes, is at the place of the descriptor. Nothing else runs meanwhile.
        """
        while self._tls.pending():
            self._ahead += self._tls.read(PIECE)
        if self._in is not None:
            return self._close_notify_of_memory()
        descriptor = self.socket.fileno()
        try:
            near, far = _aside()
            kept = os.dup(descriptor)
        except EnvironmentError:
            self._shut_down()       # no descriptor is left; this is as good, if the peer sends nothing just now
            return b''
        try:
            os.dup2(near.fileno(), descriptor)
            self._shut_down()
        finally:
            os.dup2(kept, descriptor)
            os.close(kept)
            close_on_exec(self.socket)
        return peek(far, PIECE) and far.recv(PIECE) or b''

    def _close_notify_of_memory(self):
        try:
            data = self._in.pending and self._tls.read(PIECE)
            while data:
                self._ahead += data
                data = self._in.pending and self._tls.read(PIECE)
        except (ssl.SSLError, EnvironmentError):
            pass                    # a part of a record; or what the next read tells
        self._shut_down()
        self._unsent += self._out.read()
        octets, self._unsent = self._unsent, b''
        return octets

    def _shut_down(self):
        try:
            self._tls.shutdown()
        except (ssl.SSLError, EnvironmentError):
            pass                    # what it says in any case: the answer of the peer has not come

    def setsockopt(self, *arguments):
        """Set an option of the socket. After SO_LINGER, a reset will follow, which must not look like an end.

        `arguments`: as for socket.setsockopt.
        """
        self._notified = self._notified or arguments[1] == socket.SO_LINGER
        self.socket.setsockopt(*arguments)

    def close(self):
        """Say close_notify, if that is still to be said, and close the socket."""
        try:
            self._notify()
        except socket.error:
            pass
        self.socket.close()

    def describe(self):
        """Return (version, cipher) as native text, for people."""
        return str(self._tls.version()), str(self._tls.cipher()[0])

    def certificate(self):
        """Return the verified certificate of the peer as a dictionary (see ssl.SSLSocket.getpeercert); {} if none."""
        ask = getattr(self._tls, 'getpeercert', None) or self._tls.peer_certificate
        return ask(False) or {}


def _aside():
    """Return two sockets that are connected to each other, always the same ones."""
    if not _made:
        _made.extend(socket.socketpair())
        for sock in _made:
            sock.setblocking(False)
            close_on_exec(sock)
    return _made


def _octets(data):
    """Return what `data`, octets or a view of octets, holds."""
    return data.tobytes() if isinstance(data, memoryview) else data


def _weak(sock):
    """Return a Socket for the descriptor of `sock`, which has it no more; on Python 2 sockets need not be weak."""
    if not hasattr(sock, 'detach'):
        return sock
    return Socket(sock.family, sock.type, sock.proto, sock.detach())


def _is_cut(error):
    return isinstance(error, ssl.SSLEOFError) or any(sign in str(error) for sign in _NO_NOTIFY)


def _translated(error):
    """Return a Failure or socket.error for what the ssl module has raised."""
    if _is_cut(error):
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

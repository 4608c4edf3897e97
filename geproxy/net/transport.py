"""Transports carry the octets of a Stream: a plain socket, or a Transport that codes them, such as TLS.

A plain socket is used directly, so this module costs it nothing. A Transport has the same methods with the same
meaning, but it differs from a plain socket in two points. First, it may have octets in its own buffer (`pending`) while
its descriptor has none, so a wait must look at the buffer first: its Watcher does. Second, the octets on its descriptor
are coded, so splice(2) must not move them (`raw`).
"""
from __future__ import absolute_import, division, print_function

from gevent.hub import get_hub

from geproxy.compat import native_poll

READ, WRITE = 1, 2              # libev's numbers for the events of a descriptor
POLLIN, POLLOUT = 1, 4          # those of poll(2), on all systems


class Transport(object):
    """Base class of all transports that are more than a socket.

    A subclass defines `recv`, `send` and `pending`, and `shutdown` if the end of a direction is coded, too. None of
    them waits. A method that would have to wait raises socket.error with EAGAIN, not the error of its library.
    """
    raw = False         # True if splice(2) may carry its octets: they go over the descriptor as they are
    established = True      # False until both sides have agreed on the coding
    # What the next read waits for. WRITE: the coding has to send something first, and the peer takes nothing.
    awaits = READ

    def __init__(self, sock):
        """Put a coding on a socket.

        `sock`: a connected socket, which this Transport closes.
        """
        self.socket = sock
        self._poll = None

    def recv(self, most):
        """Return up to `most` decoded octets; b'' at the end. Raises socket.error: EAGAIN if none is there yet."""
        raise NotImplementedError

    def recv_into(self, buffer, most):
        """Read up to `most` decoded octets into `buffer`, a bytearray. Return how many. Raises what `recv` does."""
        data = self.recv(most)
        buffer[:len(data)] = data
        return len(data)

    def send(self, data):
        """Code and send `data`, octets or a view of them. Return how many were taken. Raises socket.error."""
        raise NotImplementedError

    def pending(self):
        """Return a true value if `recv` has something to return without the descriptor: octets, or the end."""
        raise NotImplementedError

    def shutdown(self, how):
        """End one direction or both. `how`: as for socket.shutdown."""
        self.socket.shutdown(how)

    def close(self):
        """Close the socket."""
        self.socket.close()

    def fileno(self):
        """Return the file descriptor; -1 once it is closed."""
        return self.socket.fileno()

    def settimeout(self, seconds):
        """Set the time-out of the socket, in seconds; 0.0: never wait."""
        self.socket.settimeout(seconds)

    def getsockopt(self, *arguments):
        """Return an option of the socket. `arguments`: as for socket.getsockopt."""
        return self.socket.getsockopt(*arguments)

    def setsockopt(self, *arguments):
        """Set an option of the socket. `arguments`: as for socket.setsockopt."""
        self.socket.setsockopt(*arguments)

    def poll(self, milliseconds):
        """Return a true value if there is something to read, as poll(2) does for a plain socket.

        `milliseconds`: to wait at most.
        """
        if self._poll is None:
            self._poll = native_poll()
        self._poll.register(self.socket, POLLIN if self.awaits == READ else POLLOUT)
        return self.pending() or self._poll.poll(milliseconds)


class Watcher(object):
    """Calls a function of the hub while a Transport has something to read. Has the methods of gevent's `loop.io`.

    It asks `pending` before the descriptor: when it is started, and after each call.
    """
    __slots__ = ('_transport', '_io', '_event', '_call', '_arguments', '_scheduled')

    def __init__(self, transport):
        """Watch `transport`, a Transport."""
        self._transport = transport
        self._io, self._event = get_hub().loop.io(transport.fileno(), READ), READ
        self._call = self._arguments = None
        self._scheduled = None          # a callback of the hub's loop that is still to come

    def start(self, call, *arguments):
        """Have call(*arguments) called by the hub, again and again until `stop`, while there is something to read."""
        self._call, self._arguments = call, arguments
        if self._event != self._transport.awaits:
            self._event = self._transport.awaits
            self._io = get_hub().loop.io(self._transport.fileno(), self._event)
        self._io.start(self._tell)
        self._ask()

    def stop(self):
        """Call no more."""
        self._call = self._arguments = None
        self._io.stop()
        if self._scheduled is not None:
            self._scheduled.stop()
            self._scheduled = None

    def _ask(self):
        if self._call is not None and self._scheduled is None and self._transport.pending():
            self._scheduled = get_hub().loop.run_callback(self._tell)

    def _tell(self):
        """Call the function. The hub calls this when the descriptor is readable, or octets are pending."""
        if self._scheduled is not None:
            self._scheduled.stop()
            self._scheduled = None
        if self._call is not None:
            self._call(*self._arguments)
            self._ask()

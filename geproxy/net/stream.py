"""A connection with a buffer, deadlines and counters. Only this module calls `recv` and `send`.

Knows no HTTP beyond "empty line". Sockets never block: a watcher of the event loop waits, and each wait has a deadline.
"""
from __future__ import absolute_import, division, print_function

import errno
import re
import socket
import struct

import gevent

from geproxy import errors
from geproxy.compat import monotonic, native_poll
from geproxy.net import deadlines, kernel_pipes, memory, unwanted
from geproxy.net.deadlines import TimeLimit, wait_readable
from geproxy.net.transport import POLLIN, READ, Watcher

SCRATCH_SIZE = 256 * 1024       # octets; for copying, 256 KiB costs a third less per octet than 64 KiB (DESIGN, 6)
HEAD_PIECE = 16 * 1024          # octets that one read for a head asks for
GRACE = 1.0                     # seconds after a deadline in which data that arrived before it may still be read
PARTING = TimeLimit('linger', 5.0, errors.IdleTimeout)      # for a peer by TLS to take the end of our direction

# One buffer for the whole process. It is filled and emptied between two switches of greenlets, so an idle connection
# owns no buffer. Octets that a peer does not take at once are copied out of it.
_scratch = bytearray(SCRATCH_SIZE)

_match_empty_lines = re.compile(br'(?:\r\n)*').match
_AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
_RESET = struct.pack('ii', 1, 0)


def tune(sock):
    """Set `sock`, a socket, to send without delay and to notice dead peers. Accepted sockets inherit this."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except socket.error:
        pass                        # not TCP, or already reset: then the first read fails


class Stream(object):
    """A connection of a client, or to an origin. The code that makes it also closes it.

    Most methods raise the class given as `lost` when the peer has reset or broken the connection.
    """
    __slots__ = ('transport', 'pending', 'peer', 'buffer', 'ended', 'received', 'sent', 'at_once', 'pace',
                 'reader', 'writer', 'reading', 'writing', 'shortened_by', 'until', 'source', 'held', '_lost', '_shut',
                 '_quiet')

    def __init__(self, transport, peer, lost):
        """Take over a connection.

        `transport`: a connected native socket (one of gevent's works, too, and costs more), or a transport.Transport;
        `peer`: the address of the peer as native text; `lost`: ClientLost or UpstreamLost, the class to raise.
        """
        self.transport = transport
        self.peer = peer
        self.buffer = b''           # received, and not yet taken
        self.ended = False          # the peer will send no more
        self.received = self.sent = 0   # octets, in all
        self.at_once = 0            # octets sent since the peer last took less than it was sent
        self.pace = None            # a limits.Pace: how fast octets may be sent; None: no limit
        self.shortened_by = None    # the TimeLimit that ended a wait early; see deadlines.shorten_wait
        self.until = None           # how long unwanted octets are read, in monotonic seconds
        self.source = None          # the stream that feeds this one, if a wait for room here ends with its reset
        self.held = 0               # octets that are charged to memory.budget for this connection
        self._lost = lost
        self._shut = False         # `shut_down` has ended both directions
        self._quiet = None          # a poll object for this connection, once it is needed
        transport.settimeout(0.0)   # in any case: on Python 3.6 an accepted socket tells a wrong time-out
        deadlines.start()
        # A plain socket has no `pending`: no octets but those on its descriptor.
        self.pending = getattr(transport, 'pending', None)
        self.reader = Watcher(transport) if self.pending else gevent.get_hub().loop.io(transport.fileno(), READ)
        self.writer = None          # see deadlines.wait_writable
        self.reading = self.writing = None      # see deadlines

    # --- reading

    def read_now(self, most=SCRATCH_SIZE):
        """Read what is there, without waiting. Return (octets, count), (b'', 0) at the end, None if nothing is there.

        `most`: octets to read at most. The octets may be a buffer that all streams share, of which the first `count`
        are meant: use them before anything that may wait.
        """
        if self.buffer:
            data, self.buffer = self.buffer[:most], self.buffer[most:]
            return data, len(data)
        if self.ended:
            return b'', 0
        try:
            count = self.transport.recv_into(_scratch, most if most < SCRATCH_SIZE else SCRATCH_SIZE)
        except socket.error as error:
            if error.args[0] in _AGAIN:
                return None
            raise self._broken(error)
        self.received += count
        self.ended = not count
        return _scratch, count

    def read_to(self, pipe, most):
        """Read what is there into a pipe, without waiting. The buffer must be empty.

        `pipe`: an empty kernel_pipes.Pipe; `most`: octets. The pipe stays empty if nothing is there, at the end, or if
        this system does not splice: `read_now` tells which.
        """
        try:
            self.received += pipe.fill(self.transport.fileno(), most)
        except (IOError, OSError) as error:
            if error.args[0] not in _AGAIN and not kernel_pipes.pool.refuses(error):
                raise self._broken(error)

    @property
    def splices(self):
        """True if splice(2) may carry its octets, in and out."""
        return self.pending is None or self.transport.raw

    def read(self, limit, most=SCRATCH_SIZE):
        """Read up to `most` octets as `read_now`, but wait until some are there. Raises limit.error, of a TimeLimit."""
        while True:
            got = self.read_now(most)
            if got is not None:
                return got
            self.wait(limit, monotonic() + limit.seconds)

    def wait(self, limit, deadline):
        """Wait until more can be read, or until `deadline`, monotonic seconds. Raises limit.error, of a TimeLimit."""
        if wait_readable((self,), deadline) is None:
            raise self._late(limit)

    def _late(self, limit, what='waited'):
        """Return the error for a wait that took too long: of `limit`, or of the one that shortened the wait."""
        limit, self.shortened_by = self.shortened_by or limit, None
        return limit.error('%s %.3g s ([timeouts] %s)' % (what, limit.seconds, limit.name))

    def fill(self, most=HEAD_PIECE):
        """Read what is there, without waiting, and add it to the buffer.

        `most`: octets. Return how many octets came: 0 at the end, None if nothing is there.
        """
        try:
            data = self.transport.recv(most)
        except socket.error as error:
            if error.args[0] in _AGAIN:
                return None
            raise self._broken(error)
        self.received += len(data)
        if not data:
            self.ended = True       # and never False again: octets behind an end are not used
        self.buffer += data
        return len(data)

    def fill_ahead(self):
        """Read as `fill`, and charge a large buffer to the budget: for octets that are kept. Raises MemoryFull."""
        count = self.fill()
        if len(self.buffer) > max(memory.FREE, self.held):
            self.hold(len(self.buffer))
        return count

    def hold(self, count):
        """Charge `count` octets to the memory budget, in place of those held before. Raises MemoryFull, not for 0."""
        memory.budget.charge(self.held, count)
        self.held = count

    def skip_empty_lines(self):
        """Remove empty lines from the front of the buffer. Return True if something else follows."""
        self.buffer = self.buffer[_match_empty_lines(self.buffer).end():]
        return self.buffer not in (b'', b'\r')

    def unread(self, data):
        """Put `data`, octets, back, so that they are read next."""
        self.buffer = data + self.buffer

    def read_head(self, size, limit, deadline, check_start):
        """Wait for a head and return it: all octets up to and including the first empty line.

        `size`: octets at most; `limit`, `deadline`: as for `wait`, for the whole head; `check_start`: a function of
        (the octets so far, how many of them it has seen before), called while the head is incomplete, which raises if
        they cannot begin one. Return None if the head is larger than `size`, b'' if the connection ended before it did.
        Raises limit.error.
        """
        searched = checked = 0
        while True:
            # Wrong line ends also end a head here, so that the parser can refuse them at once.
            end = self.buffer.find(b'\n\r\n', searched) + 3
            if end == 2 or end > size:
                lone = self.buffer.find(b'\n\n', searched, size) + 2
                end = lone if lone > 1 or end == 2 else end
            if 2 <= end <= size:
                head, self.buffer = self.buffer[:end], self.buffer[end:]
                return head
            if end > size or len(self.buffer) >= size:
                return None
            searched = max(0, len(self.buffer) - 2)
            if self.buffer:
                check_start(self.buffer, checked)
                checked = len(self.buffer)
            if self.ended:
                return b''
            # To wait first saves a read that would fail, and its exception: 61-70 -> 47 us per request (DESIGN, 5)
            self._wait_for_more(limit, deadline)

    def _wait_for_more(self, limit, deadline):
        """Wait as `wait`, then read. Octets that come one by one, without a pause, do not move the deadline."""
        self.wait(limit, deadline)
        self.fill_ahead()
        if monotonic() > deadline + GRACE:
            raise self._late(limit)

    def read_front(self, parse, limit, deadline):
        """Wait for the first part of a connection, take it from the buffer, and return it.

        `parse`: a function of octets that returns a value with `size`, in octets, or None while more must come;
        `limit`, `deadline`: as for `wait`, for all of it. Raises what `parse` does, and limit.error.
        """
        while True:
            value = parse(self.buffer)
            if value is not None:
                self.buffer = self.buffer[value.size:]
                return value
            if self.ended:
                raise self._lost('the connection ended too early')
            self._wait_for_more(limit, deadline)

    # --- writing

    def send(self, data, limit):
        """Send all octets, and wait while the peer does not take them.

        `data`: octets or a view of them; `limit`: the TimeLimit for a peer that takes nothing: the clock starts anew
        with each piece that it takes, and stands while the pace holds octets back. Raises limit.error, and what the
        pace raises.
        """
        if self.pace is not None:
            data = self._hold(data)
        try:
            sent = self.transport.send(data)
        except socket.error as error:
            sent = self._not_sent(error)
        self.sent += sent
        if sent == len(data):
            self.at_once += sent
        else:
            self.at_once = 0
            self._send_rest(memoryview(data)[sent:].tobytes(), limit)

    def send_now(self, data):
        """Send of `data`, octets or a view, what the peer takes without a wait. Return how many octets."""
        try:
            sent = self.transport.send(data)
        except socket.error as error:
            sent = self._not_sent(error)
        self.sent += sent
        return sent

    def _not_sent(self, error):
        if error.args[0] in _AGAIN:
            return 0
        raise self._broken(error)

    def send_from(self, pipe, limit):
        """Send all of `pipe`, a kernel_pipes.Pipe, as `send` does, but without the pace. Raises limit.error."""
        while pipe.held:
            try:
                self.sent += pipe.drain(self.transport.fileno())
            except (IOError, OSError) as error:
                if kernel_pipes.pool.refuses(error):
                    self._send_rest(pipe.read_all(), limit)
                elif error.args[0] in _AGAIN:
                    self._wait_writable(limit)
                else:
                    raise self._broken(error)

    def _hold(self, data):
        """Wait until the pace lets `data` go, or the connection ends. Return it, as octets that only we have."""
        until = self.pace.take(len(data), monotonic())
        left = until - monotonic()
        if left <= 0:
            return data
        data = memoryview(data).tobytes()       # others use the scratch buffer while this greenlet waits
        while left > 0:
            if left > 2 * deadlines.SWEEP:
                deadlines.watching(self, wait_readable, (), until - deadlines.SWEEP)    # precise to one SWEEP
            else:
                gevent.sleep(left)
            left = until - monotonic()
            if left > 0 and (self._shut or self.is_gone()):
                break                           # the send that follows raises the error
        return data

    def _send_rest(self, data, limit):
        view = memoryview(data)
        at, held = 0, len(data) if len(data) > memory.FREE else 0
        memory.budget.force(0, held)        # it has been read, and cannot be refused
        try:
            while at < len(data):
                self._wait_writable(limit)
                at += self.send_now(view[at:])
        finally:
            memory.budget.force(held, 0)

    def wait_writable(self, limit, deadline):
        """Wait until the peer takes more, or until `deadline`, as `wait`. Raises limit.error, of a TimeLimit."""
        if deadlines.wait_writable(self, deadline) is None:
            raise self._late(limit, 'nothing taken for')

    def _wait_writable(self, limit):
        deadline = monotonic() + limit.seconds
        if self.source is None:
            self.wait_writable(limit, deadline)
            return
        while deadlines.watching(self.source, deadlines.wait_writable, self, deadline) is None:
            if self.source.is_gone():
                raise self.source.gone()
            if self.shortened_by or monotonic() >= deadline:
                raise self._late(limit, 'nothing taken for')

    # --- the end

    def is_gone(self):
        """Return True if the peer has reset the connection."""
        return self.transport.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def gone(self):
        """Return the error to raise when `is_gone` is true."""
        self.ended = True
        return self._lost('the connection was reset')

    def is_quiet(self):
        """Return True if the connection is up and nothing has come on it."""
        if self._quiet is None:
            self._quiet = self.transport
            if self.pending is None:
                self._quiet = native_poll()
                self._quiet.register(self.transport, POLLIN)
        return not self.buffer and not self.ended and not self._quiet.poll(0)

    def end(self):
        """End our direction: the peer learns it, and may still send. Waits if a peer by TLS must take it first."""
        deadline = monotonic() + PARTING.seconds
        while not self._shutdown(socket.SHUT_WR) and self.pending is not None:
            try:
                self.wait_writable(PARTING, deadline)
            except errors.IdleTimeout:
                break

    def shut_down(self):
        """End both directions, so that a greenlet that waits for this stream stops waiting."""
        self._shut = True
        self._shutdown(socket.SHUT_RDWR)

    def shut_down_reading(self):
        """End the direction from the peer; the peer does not learn it. Octets that have arrived can still be read."""
        self._shutdown(socket.SHUT_RD)

    def shorten_wait(self, deadline, limit):
        """End waits for this stream at `deadline`. `deadline`, `limit`: as for deadlines.shorten_wait."""
        deadlines.shorten_wait(self, deadline, limit)
        if self.until is not None:
            self.until = min(self.until, deadline)

    def _shutdown(self, how):
        """Return False if the transport could not tell the peer yet."""
        try:
            self.transport.shutdown(how)
        except socket.error as error:
            return error.args[0] not in _AGAIN      # else the connection is gone already
        return True

    def linger(self, seconds, make_pace=None):
        """End our direction, and read octets that still come. `seconds`, `make_pace`: as for unwanted.linger."""
        self.end()
        unwanted.linger(self, seconds, make_pace)

    def reset_on_close(self):
        """Make sure that the peer sees a reset when this is closed, because it has not got all octets."""
        try:
            self.transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except socket.error:
            pass                    # the connection is gone already

    def abort(self):
        """Close, so that the peer sees a reset."""
        self.reset_on_close()
        self.close()

    def close(self):
        """Close. No greenlet may be waiting for this stream."""
        self.reader.stop()
        if self.writer is not None:
            self.writer.stop()
        if self.held:
            self.hold(0)
        self.transport.close()

    def _broken(self, error):
        self.ended = True
        return self._lost('the connection broke: %s' % (error.args[-1],))

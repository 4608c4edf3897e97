"""A socket with a buffer, a deadline and counters: the only place that spells recv and send.

Knows no HTTP beyond "empty line". Sockets never block here: a watcher of the hub's loop waits, under a deadline.
"""
from __future__ import absolute_import, division, print_function

import errno
import re
import socket
import struct

import gevent

from geproxy.compat import monotonic, native_poll
from geproxy.net import deadlines, kernel_pipes, memory, unwanted
from geproxy.net.deadlines import wait_readable
from geproxy.net.transport import POLLIN, READ, WRITE, Transport, Watcher

SCRATCH_SIZE = 256 * 1024       # octets; for copying, 256 KiB costs a third less per octet than 64 KiB (DESIGN, 6)
HEAD_PIECE = 16 * 1024          # octets; what one read for a head asks for
GRACE = 1.0                     # seconds: what came in time may be read that much later

# One buffer for the whole process: filled and emptied between two switches of greenlets, so that an idle connection
# owns none. What a peer would not take at once is copied out of it.
_scratch = bytearray(SCRATCH_SIZE)

_match_empty_lines = re.compile(br'(?:\r\n)*').match
_AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
_RESET = struct.pack('ii', 1, 0)


def tune(sock):
    """Send at once what is to be sent, and find out about dead peers. Connections inherit it from their listener."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except socket.error:
        pass                        # not TCP, or already reset: the first read will tell


class Stream(object):
    """A connected stream socket, of a client or an origin. Whoever made it closes it.

    Raises the class given as `lost` when the peer has reset or broken the connection.
    """
    __slots__ = ('transport', 'pending', 'peer', 'buffer', 'ended', 'received', 'sent', 'at_once', 'pace',
                 'reader', 'writer', 'reading', 'writing', 'hurried', 'until', 'source', 'held', '_lost', '_woken',
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
        self.at_once = 0            # octets that the peer took since it last took less than it was sent
        self.pace = None            # a limits.Pace: how fast octets may be sent
        self.hurried = None         # see deadlines.hurry
        self.until = None           # monotonic seconds: how long octets that nobody wants are swallowed
        self.source = None          # the stream that feeds this one, if waiting for room here ends with its reset
        self.held = 0               # octets that are charged to memory.budget for it
        self._lost = lost
        self._woken = False         # both directions were ended here
        self._quiet = None          # a poll(2) of it, once somebody asks
        transport.settimeout(0.0)   # in any case: on Python 3.6 an accepted socket tells a wrong time-out
        deadlines.start()
        if isinstance(transport, Transport):
            self.pending = transport.pending
            self.reader = Watcher(transport)
        else:
            self.pending = None     # a plain socket has no octets but those on its descriptor
            self.reader = gevent.get_hub().loop.io(transport.fileno(), READ)
        self.writer = None          # until a peer takes less than it is sent
        self.reading = self.writing = None      # see deadlines

    # --- reading

    def read_now(self, most=SCRATCH_SIZE):
        """Read what is there -> (octets or scratch, how many), (b'', 0) at the end, None if nothing is there yet.

        Scratch is shared: use it before anything that may wait.
        """
        if self.buffer:
            data, self.buffer = self.buffer[:most], self.buffer[most:]
            return data, len(data)
        if self.ended:
            return b'', 0
        try:
            count = self.transport.recv_into(_scratch, min(most, SCRATCH_SIZE))
        except socket.error as error:
            if error.args[0] in _AGAIN:
                return None
            raise self._broken(error)
        self.received += count
        self.ended = not count
        return _scratch, count

    def read_to(self, pipe, most):
        """As `read_now`, into an empty pipe, which has nothing in it afterwards if nothing is there, nothing can be
        spliced, or it is the end: reading tells which. The buffer must be empty."""
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
        """As `read_now`, but waits for it. Raises limit.error."""
        while True:
            got = self.read_now(most)
            if got is not None:
                return got
            self.wait(limit, monotonic() + limit.seconds)

    def wait(self, limit, deadline):
        """Wait until more can be read than is in the buffer. Raises limit.error at the deadline."""
        if wait_readable((self,), deadline) is None:
            raise self._late(limit)

    def _late(self, limit, what='waited'):
        """The error of a wait that `limit`, or another that has shortened it, has ended."""
        limit, self.hurried = self.hurried or limit, None
        return limit.error('%s %.3g s ([timeouts] %s)' % (what, limit.seconds, limit.name))

    def fill(self, most=HEAD_PIECE):
        """Read what is there behind the buffer -> how many octets; 0 at the end, None if nothing is there yet."""
        try:
            data = self.transport.recv(most)
        except socket.error as error:
            if error.args[0] in _AGAIN:
                return None
            raise self._broken(error)
        self.received += len(data)
        if not data:
            self.ended = True       # never False again: what comes behind an end that was seen is nobody's
        self.buffer += data
        return len(data)

    def fill_ahead(self):
        """As `fill`, for what is kept until it is complete, or until its turn comes. Raises MemoryFull."""
        count = self.fill()
        if len(self.buffer) > max(memory.FREE, self.held):
            self.hold(len(self.buffer))
        return count

    def hold(self, count):
        """Charge `count` octets to the budget of the process, in the place of what this connection held. Raises
        MemoryFull; 0 never does."""
        memory.budget.charge(self.held, count)
        self.held = count

    def skip_empty_lines(self):
        """Take empty lines from the front of the buffer; true if something else stands there."""
        self.buffer = self.buffer[_match_empty_lines(self.buffer).end():]
        return self.buffer not in (b'', b'\r')

    def unread(self, data):
        """Put octets back, to be read next."""
        self.buffer = data + self.buffer

    def read_head(self, size, limit, deadline, check_start):
        """Wait for all octets up to and including the first empty line, and return them; None if there are more
        than `size`, b'' if the connection ended before. `check_start` is called, when it is not all there, with what
        is, and how much of that it has seen before. Raises limit.error at the deadline, a time for the whole head."""
        searched = checked = 0
        while True:
            # Lenient, so that a head with wrong line ends is seen to be over, too; its parser refuses it.
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
            # Waiting first saves a read that would fail, and its exception: 61-70 -> 47 us per request (DESIGN, 6)
            self._wait_for_more(limit, deadline)

    def _wait_for_more(self, limit, deadline):
        """As `wait`, and read it. Octets that come one by one, without a pause, do not put the deadline off."""
        self.wait(limit, deadline)
        self.fill_ahead()
        if monotonic() > deadline + GRACE:
            raise self._late(limit)

    def read_front(self, parse, limit, deadline):
        """Wait for what stands in front of all else, and take it: a value that `parse` gives of octets, with its
        `size`, or None as long as there must be more. Raises what `parse` does, and limit.error at the deadline, a time
        for all of it."""
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
        """Send all of `data` (octets or a view of them). Raises limit.error when the peer takes nothing for that
        long: the clock starts anew with every piece that it takes. While its pace holds it back there is no clock;
        raises what the pace does."""
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
        """Send what the peer takes at once -> how many octets."""
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
        """As `send`, all that is in `pipe`. Its pace is not asked."""
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
        """Wait until `data` may go, but no longer than the connection lasts -> `data`, safe from others."""
        until = self.pace.take(len(data), monotonic())
        left = until - monotonic()
        if left <= 0:
            return data
        data = memoryview(data).tobytes()       # scratch belongs to others while this one waits
        while left > 0:
            if left > 2 * deadlines.SWEEP:
                deadlines.watching(self, wait_readable, (), until - deadlines.SWEEP)    # that is coarse
            else:
                gevent.sleep(left)
            left = until - monotonic()
            if left > 0 and (self._woken or self.is_gone()):
                break                           # sending will say how it ended
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

    def _wait_writable(self, limit):
        if self.writer is None:
            self.writer = gevent.get_hub().loop.io(self.transport.fileno(), WRITE)
        deadline = monotonic() + limit.seconds
        if self.source is None:
            if deadlines.wait_writable(self, deadline) is None:
                raise self._late(limit, 'nothing taken for')
            return
        while deadlines.watching(self.source, deadlines.wait_writable, self, deadline) is None:
            if self.source.is_gone():
                raise self.source.gone()
            if self.hurried or monotonic() >= deadline:
                raise self._late(limit, 'nothing taken for')

    # --- the end

    def is_gone(self):
        """True if the peer has reset the connection."""
        return self.transport.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def gone(self):
        """The error to raise once `is_gone`."""
        self.ended = True
        return self._lost('the connection was reset')

    def is_quiet(self):
        """True if the connection is up and nothing has come that nobody asked for."""
        if self._quiet is None:
            self._quiet = self.transport
            if self.pending is None:
                self._quiet = native_poll()
                self._quiet.register(self.transport, POLLIN)
        return not self.buffer and not self.ended and not self._quiet.poll(0)

    def end(self):
        """Say that no more will be sent. The peer may go on sending."""
        self._shutdown(socket.SHUT_WR)

    def wake(self):
        """End both directions, so that whoever waits for this stream, in another greenlet, sees its end."""
        self._woken = True
        self._shutdown(socket.SHUT_RDWR)

    def wake_reader(self):
        """End the direction from the peer, which is not told. What has arrived can still be read."""
        self._shutdown(socket.SHUT_RD)

    def hurry(self, deadline, limit):
        """See deadlines.hurry. Nor is anything swallowed for longer."""
        deadlines.hurry(self, deadline, limit)
        if self.until is not None:
            self.until = min(self.until, deadline)

    def _shutdown(self, how):
        try:
            self.transport.shutdown(how)
        except socket.error:
            pass                    # already gone; that is what was wanted

    def linger(self, seconds, make_pace=None):
        """End our direction and read what still comes; see unwanted.linger."""
        self.end()
        unwanted.linger(self, seconds, make_pace)

    def doom(self):
        """Whoever closes it, the peer shall see a reset: what it has is not all."""
        try:
            self.transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except socket.error:
            pass                    # already gone; that is what was wanted

    def abort(self):
        """Close so that the peer sees a reset."""
        self.doom()
        self.close()

    def close(self):
        """Close. Nobody may be waiting for it."""
        self.reader.stop()
        if self.writer is not None:
            self.writer.stop()
        if self.held:
            self.hold(0)
        self.transport.close()

    def _broken(self, error):
        self.ended = True
        return self._lost('the connection broke: %s' % (error.args[-1],))

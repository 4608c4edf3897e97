"""A socket with a buffer, a deadline and counters: the only place that spells recv and send.

Knows no HTTP beyond "empty line". Sockets never block here: a watcher of the hub's loop waits, under a deadline.
"""
from __future__ import absolute_import, division, print_function

import errno
import socket
import struct

import gevent

from geproxy import deadlines, errors, splice
from geproxy.compat import monotonic, native_poll
from geproxy.deadlines import wait_readable

SCRATCH_SIZE = 256 * 1024       # octets; for copying, 256 KiB costs a third less per octet than 64 KiB (DESIGN, 6)
HEAD_PIECE = 16 * 1024          # octets; what one read for a head asks for

# One buffer for the whole process: filled and emptied between two switches of greenlets, so that an idle connection
# owns none. What a peer would not take at once is copied out of it.
_scratch = bytearray(SCRATCH_SIZE)

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
    __slots__ = ('socket', 'peer', 'buffer', 'ended', 'received', 'sent', 'at_once', 'pace',
                 'reader', 'writer', 'reading', 'writing', '_lost', '_woken', '_quiet')

    def __init__(self, sock, peer, lost):
        """`sock`: a native socket (gevent's do, and cost more); `peer`: its address as native text; `lost`: ClientLost
        or UpstreamLost."""
        self.socket = sock
        self.peer = peer
        self.buffer = b''           # received, and not yet taken
        self.ended = False          # the peer will send no more
        self.received = self.sent = 0   # octets, in all
        self.at_once = 0            # octets that the peer took since it last took less than it was sent
        self.pace = None            # a limits.Pace: how fast octets may be sent
        self._lost = lost
        self._woken = False         # both directions were ended here
        self._quiet = None          # a poll(2) of it, once somebody asks
        sock.settimeout(0.0)        # whatever it says of itself: on 3.6 one that was accepted is wrong about that
        deadlines.start()
        self.reader = gevent.get_hub().loop.io(sock.fileno(), deadlines.READ)
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
            count = self.socket.recv_into(_scratch, min(most, SCRATCH_SIZE))
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
            self.received += pipe.fill(self.socket.fileno(), most)
        except (IOError, OSError) as error:
            if error.args[0] not in _AGAIN and not splice.pool.refuses(error):
                raise self._broken(error)

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
            raise limit.error('waited %.3g s ([timeouts] %s)' % (limit.seconds, limit.name))

    def fill(self, most=HEAD_PIECE):
        """Read what is there behind the buffer -> how many octets; 0 at the end, None if nothing is there yet."""
        try:
            data = self.socket.recv(most)
        except socket.error as error:
            if error.args[0] in _AGAIN:
                return None
            raise self._broken(error)
        self.received += len(data)
        self.ended = not data
        self.buffer += data
        return len(data)

    def skip_empty_lines(self):
        """Take empty lines from the front of the buffer; true if something else stands there."""
        while self.buffer[:2] == b'\r\n':
            self.buffer = self.buffer[2:]
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
            if wait_readable((self,), deadline) is None:
                raise limit.error('waited %.3g s ([timeouts] %s)' % (limit.seconds, limit.name))
            self.fill()

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
            if wait_readable((self,), deadline) is None:
                raise limit.error('waited %.3g s ([timeouts] %s)' % (limit.seconds, limit.name))
            self.fill()

    # --- writing

    def send(self, data, limit):
        """Send all of `data` (octets or a view of them). Raises limit.error when the peer takes nothing for that
        long: the clock starts anew with every piece that it takes. While its pace holds it back there is no clock;
        raises what the pace does."""
        if self.pace is not None:
            data = self._hold(data)
        try:
            sent = self.socket.send(data)
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
            sent = self.socket.send(data)
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
                self.sent += pipe.drain(self.socket.fileno())
            except (IOError, OSError) as error:
                if splice.pool.refuses(error):
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
            gevent.sleep(min(left, deadlines.SWEEP))
            left = until - monotonic()
            if left > 0 and (self._woken or self.is_gone()):
                break                           # sending will say how it ended
        return data

    def _send_rest(self, data, limit):
        view = memoryview(data)
        at = 0
        while at < len(data):
            self._wait_writable(limit)
            at += self.send_now(view[at:])

    def _wait_writable(self, limit):
        if self.writer is None:
            self.writer = gevent.get_hub().loop.io(self.socket.fileno(), deadlines.WRITE)
        if deadlines.wait_writable(self, monotonic() + limit.seconds) is None:
            raise limit.error('nothing taken for %.3g s ([timeouts] %s)' % (limit.seconds, limit.name))

    # --- the end

    def is_gone(self):
        """True if the peer has reset the connection."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def is_quiet(self):
        """True if the connection is up and nothing has come that nobody asked for."""
        if self._quiet is None:
            self._quiet = native_poll()
            self._quiet.register(self.socket, deadlines.POLLIN)
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

    def hurry(self, deadline):
        """Whoever waits for this stream now shall not wait beyond `deadline`."""
        deadlines.hurry(self, deadline)

    def _shutdown(self, how):
        try:
            self.socket.shutdown(how)
        except socket.error:
            pass                    # already gone; that is what was wanted

    def linger(self, seconds):
        """End our direction, and swallow what still comes until the peer ends too, or time is over: closing at once
        could destroy a response that the peer has not read yet (RFC 9112, 9.6)."""
        self.end()
        self.buffer = b''
        deadline = monotonic() + seconds
        try:
            while not self.ended and wait_readable((self,), deadline) is not None:
                self.read_now()
                self.buffer = b''
        except errors.ProxyError:
            pass                    # reset: nothing left to wait for

    def doom(self):
        """Whoever closes it, the peer shall see a reset: what it has is not all."""
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
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
        self.socket.close()

    def _broken(self, error):
        self.ended = True
        return self._lost('the connection broke: %s' % (error.args[-1],))

"""Notices that a client leaves while the proxy waits for the origin or for something else (DESIGN, 2). Knows no HTTP.
"""
from __future__ import absolute_import, division, print_function

from geproxy.compat import monotonic
from geproxy.net import deadlines
from geproxy.net.deadlines import wait_readable

NO_DEADLINE = float('inf')      # for a wait that another limit ends


class ClientWatch(object):
    """Waits for the origin and watches the client meanwhile.

    A client that closed its connection and one that ended only its own direction look alike: both send a FIN. The
    difference shows only when the client is sent something, because one that has closed answers with a reset. So an
    octet that must be sent next anyway is sent early, as a probe: the first octet of the status line, or a leading zero
    of the next chunk size.
    """
    __slots__ = ('upload', '_client', '_linger', '_room', '_until')

    def __init__(self, client, linger, room):
        """Watch a client.

        `client`: its Stream; `linger`: the TimeLimit for a client that has ended its direction; `room`: how many octets
        of further requests may be read and kept while waiting.
        """
        self.upload = None      # the BodyUpload that reads from the client, if there is one
        self._client = client
        self._linger = linger
        self._room = room
        self._until = None      # when to give up a client that has ended its direction, in monotonic seconds

    def wait(self, origin, deadline, probe=None):
        """Wait until `origin` is readable. Return True, or False at the deadline. Raises ClientLost.

        `origin`: a Stream; `deadline`: monotonic seconds; `probe`: a function that sends the client an octet which the
        client gets next in any case, or None.
        """
        client = self._client
        while not origin.buffer:
            if self.upload is not None and self.upload.over.is_set():
                self.upload = None          # nothing else reads from the client any more
            if self.upload is None and not client.ended and len(client.buffer) < self._room:
                first = wait_readable((origin, client), deadline)
                if first is not client:
                    return first is origin
                client.fill_ahead()
                continue
            until = deadline
            if client.ended:
                until = min(until, self.check(monotonic(), probe))
            if deadlines.watching(client, wait_readable, (origin,), until) is not None:
                return True
            self.check_reset()
            if monotonic() >= deadline:
                return False
        return True

    def wait_for_upload(self, origin):
        """Wait until `origin`, a Stream, is readable, or the upload has ended. Raises ClientLost."""
        while self.upload is not None and not origin.buffer:
            if self.upload.over.is_set():
                self.upload = None
            elif deadlines.watching(self._client, wait_readable, (origin,), NO_DEADLINE) is not None:
                return
            self.check_reset()

    def renew(self):
        """Start the client's time again, because the client was sent something."""
        self._until = None

    def check_reset(self):
        """Raise ClientLost if the client has reset its connection. Use this while nothing reads from the client."""
        if self._client.is_gone():
            raise self._linger.error('the client reset its connection before it had its whole answer')

    def check(self, now, probe):
        """Check on a client that has ended its direction. Return when to give it up, in monotonic seconds.

        `now`: monotonic seconds; `probe`: as for `wait`. Raises ClientLost if the client has gone or has waited for too
        long.
        """
        if self._until is None:
            self._until = now + self._linger.seconds
            if probe is not None:
                probe()
        self.check_reset()
        if now >= self._until:
            raise self._linger.error('a half-closed client waited %.3g s ([timeouts] linger)' % self._linger.seconds)
        return self._until

"""Does the memory of a proxy grow with what goes through it? Big bodies and tunnels, both ways, and slow readers.

As a script, for the real thing: python tests/bigbody.py --gigabytes 2 --slow 1000000
"""
from __future__ import absolute_import, division, print_function

import conftest     # first: as a script, too, all is patched and the checkout found  # noqa: F401

import argparse
import contextlib
import re
import sys

import gevent
from gevent.event import Event

from helpers import PATIENCE, connect, listening
from processes import read, running

from geproxy.compat import monotonic

PIECE = b'x' * (256 * 1024)
LOOK = 0.05         # seconds between two looks at the memory


def rss(pid):
    """Resident memory of a process, in octets."""
    return int(re.search(br'VmRSS:\s+(\d+) kB', read('/proc/%d/status' % pid)).group(1)) * 1024


class Peak(object):
    """The most memory that a process had while the block ran, as `growth` from its beginning."""

    def __init__(self, pid):
        self._pid = pid
        self.base = self.most = rss(pid)

    def __enter__(self):
        self._looking = gevent.spawn(self._look)
        return self

    def __exit__(self, *_):
        self._looking.kill()
        self.most = max(self.most, rss(self._pid))

    def _look(self):
        while True:
            gevent.sleep(LOOK)
            self.most = max(self.most, rss(self._pid))

    @property
    def growth(self):
        """In octets."""
        return self.most - self.base


def read_head(sock):
    """Read a head, and nothing behind it -> its octets."""
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        octet = sock.recv(1)
        assert octet, 'the connection ended behind %r' % head
        head += octet
    return head


def feed(sock, octets):
    """Send that many octets, as fast as they are taken."""
    while octets:
        octets -= sock.send(memoryview(PIECE)[:min(octets, len(PIECE))])


def swallow(sock, octets, slow, seconds):
    """Read that many octets: for the first `seconds` no more than `slow` of them in a second."""
    scratch = bytearray(len(PIECE))
    began, done = monotonic(), 0
    while done < octets:
        elapsed = monotonic() - began
        if elapsed < seconds and done > elapsed * slow:
            gevent.sleep(min(done / slow, seconds) - elapsed)   # this is what makes it slow
        count = sock.recv_into(scratch, min(octets - done, len(scratch)))
        assert count, 'only %d octets of %d came' % (done, octets)
        done += count


def both(sock, first, octets, slow, seconds):
    """Send and read that many octets at once; `first` is sent in front."""
    sock.sendall(first)
    sending = gevent.spawn(feed, sock, octets)
    swallow(sock, octets, slow, seconds)
    sending.get()


@contextlib.contextmanager
def origin(octets, slow, seconds):
    """Reads a body, then answers with one, if asked by POST; else reads and sends at once. Gives its (host, port), and
    waits behind the block until it has seen everything."""
    done = Event()

    def handle(sock):
        if read_head(sock).startswith(b'POST'):
            swallow(sock, octets, slow, seconds)
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % octets)
            feed(sock, octets)
        else:
            both(sock, b'', octets, slow, seconds)
        done.set()
    with listening(handle) as address:
        yield address
        done.wait(seconds + PATIENCE)
        assert done.is_set(), 'the origin did not get everything'


def plain(address, octets, slow, seconds):
    """A request with a body of that size to a slow origin, then a response of that size to a slow client."""
    with origin(octets, slow, seconds) as place, contextlib.closing(connect(address)) as sock:
        sock.sendall(b'POST http://%s/ HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n' % (
            authority(place), authority(place), octets))
        feed(sock, octets)
        assert read_head(sock).startswith(b'HTTP/1.1 200 ')
        swallow(sock, octets, slow, seconds)


def tunnel(address, octets, slow, seconds):
    """That many octets both ways at once through a tunnel, slowly read on both sides."""
    with origin(octets, slow, seconds) as place, contextlib.closing(connect(address)) as sock:
        sock.sendall(b'CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (authority(place), authority(place)))
        assert read_head(sock).startswith(b'HTTP/1.1 200 ')
        both(sock, b'GO\r\n\r\n', octets, slow, seconds)


def authority(place):
    """(host, port) -> octets of host:port."""
    return b'%s:%d' % (place[0].encode('ascii'), place[1])


WAYS = [('plain', plain), ('tunnel', tunnel)]


def growth(proxy, way, octets, slow, seconds):
    """By how many octets the memory of `proxy`, a processes.Process, grew while `way` was gone."""
    way(proxy.address, 4 * len(PIECE), slow, 0)     # what it needs once, it has then
    with Peak(proxy.pid) as peak:
        way(proxy.address, octets, slow, seconds)
    return peak.growth


def main():
    """The command line; the exit code is 1 if memory grew by 2 MB."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--gigabytes', type=float, default=2, help='in each direction')
    parser.add_argument('--slow', type=float, default=1e6, help='octets a second that the readers take')
    parser.add_argument('--seconds', type=float, default=60, help='how long they are that slow; then they hurry')
    options = parser.parse_args()
    octets = int(options.gigabytes * 1e9)
    worst = 0
    with running('[timeouts]\nbody = 10m\n') as proxy:
        for name, way in WAYS:
            began = monotonic()
            grown = growth(proxy, way, octets, options.slow, options.seconds)
            worst = max(worst, grown)
            print('%-7s %.3g GB each way in %.0f s: RSS grew by %d KiB' % (
                name, options.gigabytes, monotonic() - began, grown // 1024))
    return 0 if worst < 2e6 else 1


if __name__ == '__main__':
    sys.exit(main())

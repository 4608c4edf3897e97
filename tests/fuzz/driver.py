"""Sends the mutations to a real geproxy, answers for its origin, and looks what is left of it behind them."""
from __future__ import absolute_import, division, print_function

import collections
import glob
import os
import random
import re
import signal
import socket
import struct
import zlib

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer

from fuzz import mutations
from helpers import connect
from processes import Client, folder, get, running, scraped, wait_until, write

from geproxy.admin import client
from geproxy.compat import monotonic
from geproxy.net import splice

RESET = struct.pack('ii', 1, 0)
WAIT = 0.4              # seconds that a client or an origin waits for what may not come
WARM = 300              # connections before the first census
LONG = 1 << 20          # octets that are spliced
SETTLE = 20             # seconds that all may take to be gone

# Names lead to loopback, whatever they are, and without any name server; and nothing but the origin is reached, as a
# mutated address or port may be anybody's.
NAMES = b"""
import socket
_real = socket.getaddrinfo
def _loopback(host, port, *more):
    if isinstance(host, bytes):                     # as the resolver asks
        try:
            socket.inet_pton(socket.AF_INET6 if b':' in host else socket.AF_INET, host.decode('ascii'))
        except (socket.error, UnicodeError, ValueError):
            host = b'127.0.0.1'
    return _real(host, port, *more)
socket.getaddrinfo = _loopback
"""
INI = """
rules =
    allow any 127.0.0.1:%d
allow_addresses = loopback
[proxy]
name = fuzz
[timeouts]
head = 500ms
idle = 500ms
dns = 1
connect = 1
response = 500ms
body = 500ms
tunnel = 500ms
linger = 500ms
[upstream]
keep = 32
keep_time = 500ms
[log]
access = FOLDER/access.log
format = json
[admin]
listen = unix:FOLDER/admin.sock
"""

Census = collections.namedtuple('Census', 'descriptors greenlets connections')


class Failed(Exception):
    """What was found, as a sentence."""


class Fuzz(object):
    """A run. The same seed, the same connections."""

    def __init__(self, seed, at_once=64):
        self._seed, self._at_once = seed, at_once
        self._requests, self._responses = mutations.corpus('request'), mutations.corpus('response')
        self._authority = b''
        self.answered = 0               # octets that clients got
        self.asked = 0                  # requests, or what looked like one, that the origin got
        self.resident = 0               # octets of memory, at the end

    def run(self, count):
        """That many connections -> what is to be said of them. Raises Failed."""
        with self._going() as (proxy, address):
            # What is kept for later, a pipe and threads for names, is there from then on.
            self._many(address, range(WARM))
            self._check_service(proxy)
            before = self._settled(proxy)
            began = monotonic()
            self._many(address, range(count))
            took = monotonic() - began
            after = self._settled(proxy, before)
            self._check(proxy, before, after)
        return ('fuzz: %d connections in %.0f s, of which %d requests reached the origin and %d octets came back; no '
                'traceback; %d descriptors (but for pipes) and %d greenlets before, %d and %d after; %.0f MiB' % (
                    count, took, self.asked, self.answered, before.descriptors, before.greenlets,
                    after.descriptors, after.greenlets, self.resident / 2.0 ** 20))

    def show(self, number):
        """One connection -> what was sent, and what came, for people."""
        with self._going() as (proxy, address):
            lines = ['%s %r' % tuple(step) for step in self._steps(number)]
            lines.append('came: %r' % self._talk(address, number))
            proxy.tell(signal.SIGTERM)
            proxy.wait()
            return '\n'.join(lines) + '\n' + proxy.err.decode('utf-8', 'replace')

    # --- what there is

    def _going(self):
        return _Going(self)

    def _dice(self, number):
        return mutations.Dice(random.Random(self._seed * 1000003 + number).random)

    def _steps(self, number):
        return mutations.conversation(self._dice(number), self._requests, self._authority)

    def use(self, authority):
        """`authority`: of the origin."""
        self._authority = authority

    def serve(self, sock, _peer):
        """The origin. Its answer depends on the seed and what it was asked, and on nothing else."""
        sock.settimeout(WAIT)
        asked = b''
        try:
            asked = sock.recv(65536)
            while asked:
                if asked.startswith(b'GET /sound '):
                    sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % LONG + b'x' * LONG)
                    return
                self.asked += 1
                known = asked.replace(self._authority.rpartition(b':')[2], b'')
                dice = self._dice(zlib.crc32(known) & 0xffffffff)
                if act(sock, mutations.answer(dice, self._responses)) != 'read':
                    return
                asked = sock.recv(65536)
        except (socket.timeout, socket.error):
            pass                        # what came cannot have been meant
        finally:
            sock.close()

    # --- clients

    def _many(self, address, numbers):
        pool = Pool(self._at_once)
        for _ in pool.imap_unordered(lambda number: self._talk(address, number), numbers):
            pass

    def _talk(self, address, number):
        sock = connect(address)
        sock.settimeout(WAIT)
        came = []
        try:
            end = act(sock, self._steps(number))
            while end in ('half-close', 'read'):
                piece = sock.recv(65536)
                if not piece:
                    break
                came.append(piece)
                self.answered += len(piece)
        except (socket.timeout, socket.error):
            pass                        # it is refused, or waits for what was never sent
        finally:
            sock.close()
        return b''.join(came)

    # --- looking

    def _census(self, proxy):
        try:
            text = scraped(proxy)
        except client.Trouble as trouble:
            raise Failed('%s: %r' % (trouble, proxy))
        figures = dict(re.findall(r'(?m)^(\w+)(?:\{[^}\n]*\})? ([-.e+0-9]+)$', text))
        self.resident = float(figures['process_resident_memory_bytes'])
        begun = len(proxy.err)
        proxy.tell(signal.SIGUSR2)
        wait_until(lambda: b'/housekeeping.py:' in proxy.err[begun:], 'the state')     # all come in one piece
        gevent.sleep(0.1)
        state = proxy.err[begun:]
        return Census(int(figures['process_open_fds']) - pipes(proxy.pid), sum(map(int, re.findall(br'\] (\d+) greenlets?:', state))),
                      int(figures['geproxy_connections']))

    def _settled(self, proxy, before=None):
        """The census once nothing changes any more, or time is over."""
        deadline = monotonic() + SETTLE
        last = None
        while True:
            now = self._census(proxy)
            if before is not None and not now.connections and now <= before:
                return now
            if before is None and now == last and not now.connections or monotonic() > deadline:
                return now
            last = now
            gevent.sleep(1.1)           # housekeeping is once a second

    def _check(self, proxy, before, after):
        for mark in (b'Traceback', b'a bug, please report it', b'event loop blocked'):
            if mark in proxy.err:
                raise Failed('the error log has %r: ...%r' % (mark, proxy.err[proxy.err.index(mark) - 200:][:4000]))
        for kind in ('descriptors', 'greenlets', 'connections'):
            if getattr(after, kind) > getattr(before, kind):
                raise Failed('%d %s before, %d after\n%s' % (
                    getattr(before, kind), kind, getattr(after, kind),
                    proxy.err.rpartition(b' state: ')[2].decode('ascii', 'replace')))
        self._check_service(proxy)
        if b'"proxy_internal_error"' in log_of(proxy):
            raise Failed('the access log has an internal error')
        proxy.tell(signal.SIGTERM)
        if proxy.wait() != 0:
            raise Failed('it did not end as it should: %r' % proxy)

    def _check_service(self, proxy):
        with Client(proxy.address) as client:
            response = client.ask(get(('sound.test', int(self._authority.rpartition(b':')[2])), b'/sound'))
        if not response.startswith(b'HTTP/1.1 200 ') or len(response) < LONG:
            raise Failed('it does not serve as it should: %r, %r' % (response[:1000], proxy))


class _Going(object):
    """An origin and a geproxy, for a block: (the Process, its address)."""

    def __init__(self, fuzz):
        self._fuzz = fuzz

    def __enter__(self):
        self._origin = StreamServer(('127.0.0.1', 0), self._fuzz.serve, spawn=Pool())
        self._origin.start()
        self._folder = folder()
        names = self._folder.__enter__()
        write(os.path.join(names, 'sitecustomize.py'), NAMES)
        port = self._origin.address[1]
        self._fuzz.use(b'127.0.0.1:%d' % port)
        self._running = running(INI % port, more_env={'PYTHONPATH': names})
        proxy = self._running.__enter__()
        return proxy, proxy.address

    def __exit__(self, *error):
        self._running.__exit__(*error)
        self._folder.__exit__(*error)
        self._origin.stop(timeout=0.1)


def act(sock, steps):
    """Do what the Steps say -> the last."""
    for what, value in steps:
        if what == 'send':
            sock.sendall(value)
        elif what == 'half-close':
            sock.shutdown(socket.SHUT_WR)
        elif what == 'reset':
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return what


def pipes(pid):
    """How many descriptors of a process are pipes, as it keeps those that splice: a bounded number."""
    try:
        found = [os.readlink(path) for path in glob.glob('/proc/%d/fd/*' % pid)]
    except OSError:
        return pipes(pid)               # one was closed just now
    count = sum(path.startswith('pipe:') for path in found)
    if count > 2 * splice.MOST + 2:
        raise Failed('%d ends of pipes' % count)
    return count


def log_of(proxy):
    """The access log."""
    with open(os.path.join(proxy.folder, 'access.log'), 'rb') as opened:
        return opened.read()

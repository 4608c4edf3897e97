"""The other end of the admin listener: finds the processes that run, asks them, and follows what they tell.

Several processes are one: answers of all, and one stream of lines, which those that start meanwhile join.
"""
from __future__ import absolute_import, division, print_function

import collections
import errno
import glob
import os
import socket
import time

from geproxy import errors
from geproxy.compat import monotonic, to_native
from geproxy.http1 import chunks, framing, reading
from geproxy.net import unix_sockets
from geproxy.net.deadlines import TimeLimit, wait_readable
from geproxy.net.stream import Stream
from geproxy.settings import loading, option_types

DIAL = 5.0              # seconds
WAIT = TimeLimit('admin', 10.0, errors.ResponseTimeout)
LIMITS = collections.namedtuple('Limits', 'head_size fields')(65536, 100)
LOOK = 2.0              # seconds between two looks for processes that are new

NO_ADMIN = """%s has no admin listener to ask. Put this into it, and restart geproxy:

[admin]
listen = unix:/run/geproxy/{pid}.sock

(or another folder that geproxy may write to; or a port: 127.0.0.1:9001)"""


NO_ADMIN_HERE = ('this is no admin listener (it answers %d): ask where [admin] listen says, not at the port that '
                 'clients use; with -c FILE it is found')
AS_WHOM = 'be root, or the user that runs geproxy'
_GONE = (errno.ECONNREFUSED, errno.ENOENT)      # a process that was killed has left its socket, or has just ended


class Trouble(Exception):
    """What cannot be done, as a sentence for whoever asked."""


def places(admin, path):
    """Where to ask, as 'unix:/PATH' or 'host:port'. See `patterns`, and what it raises."""
    return [place for each in patterns(admin, path) for place in _spread(each)]


def patterns(admin, path):
    """The same, with folders, patterns and {pid} in it. `admin`: a list of these; if it is empty, what the ini file at
    `path` says. Raises Trouble, ValueError, ConfigError."""
    if admin:
        return admin
    if not path:
        raise ValueError('it takes -c FILE, whose [admin] listen says where to ask, or --admin')
    try:
        # Half-edited or bad, the file must not keep anybody from looking at what runs.
        found = loading.load_option(path, 'admin', 'listen')
    except EnvironmentError as error:
        raise ValueError('%s: %s' % (path, error.strerror))
    if not found:
        raise Trouble(NO_ADMIN % path)
    return ['unix:' + listener.path if isinstance(listener, option_types.UnixListener)
            else '%s:%d' % (listener.host or '127.0.0.1', listener.port) for listener in found]


def place_of(pid, wanted):
    """Where the process of that id is asked, by patterns; None if they do not say."""
    for each in wanted:
        place = each.replace('{pid}', '%d' % pid)
        if not place.startswith('unix:') or not (os.path.isdir(place[len('unix:'):]) or glob.has_magic(place)):
            return place
    return None


def _spread(place):
    if not place.startswith('unix:'):
        return [place]
    path = place[len('unix:'):]
    if '{pid}' not in path and not os.path.isdir(path) and not glob.has_magic(path):
        return [place]
    here = path if os.path.isdir(path) else os.path.dirname(path)
    if os.path.isdir(here) and not os.access(here, os.R_OK | os.X_OK):
        raise Trouble('%s: permission denied; %s' % (here, AS_WHOM))
    return ['unix:' + each for each in unix_sockets.matches(path)]


def _dial(place):
    """A socket, connected. Raises socket.error, or ValueError for what is no place."""
    if place.startswith('unix:'):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(DIAL)
            sock.connect(place[len('unix:'):])
        except socket.error:
            sock.close()
            raise
        return sock
    host, _, port = place.rpartition(':')
    if not host or not port.isdigit():
        raise ValueError("'%s' is no place to ask: it takes 127.0.0.1:9001 or unix:/PATH" % place)
    return socket.create_connection((host.strip('[]'), int(port)), DIAL)


class Reader(object):
    """One response, read as it comes. Closed by whoever made it."""

    def __init__(self, place, method, path):
        """Ask at a place; may wait. Raises socket.error, ProxyError."""
        self.stream = Stream(_dial(place), place, errors.UpstreamLost)
        self._rest = b''
        try:
            self.stream.send(b'%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' % (method, path), WAIT)
            head = self.stream.read_head(LIMITS.head_size, WAIT, monotonic() + WAIT.seconds,
                                         reading.check_response_start)
            if not head:
                raise errors.UpstreamLost('it has no answer')
            response = reading.parse_response(head)
            self.status, self._body = response.status, framing.response_body(response, method, LIMITS)
            # Of the process, the same at all its addresses; one of before this field was is known by its place.
            self.process = b' '.join(response.values(b'geproxy-process')) or place
            if self.process is place and not _may_be_ours(response):
                raise errors.UpstreamLost(NO_ADMIN_HERE % response.status)
        except errors.ProxyError:
            self.stream.close()
            raise

    def lines(self):
        """The lines that are there, as native text, None at the end. Does not wait."""
        got = self.stream.read_now()
        if got is None:
            return []
        if not got[1] or self._body.done:
            return None
        lines = (self._rest + chunks.bytes_of(self._body.feed(*got))).split(b'\n')
        self._rest = lines.pop()
        return [to_native(line) for line in lines]

    def all_lines(self):
        """All lines to the end; waits for them."""
        found = []
        while not self._body.done:
            if not self.stream.buffer:
                self.stream.wait(WAIT, monotonic() + WAIT.seconds)
            lines = self.lines()
            if lines is None:
                break
            found += lines
        return found


def ask(wanted, method, path):
    """Ask all places -> ([(place, status, lines)] of those that answer, [why] of those that are there and do not).
    Raises Trouble if none does."""
    answers, silent, gone, known = [], [], [], set()
    for place in wanted:
        try:
            # First who is there: nobody is told twice to do the same.
            if len(wanted) > 1 and _is_known(_ask_one(place, b'GET', b'/-/healthy')[0], known):
                continue
            answers.append((place,) + _ask_one(place, method, path)[1:])
        except (socket.error, errors.ProxyError) as error:
            has_ended = not isinstance(error, errors.ProxyError) and error.args[:1] and error.args[0] in _GONE
            (gone if has_ended else silent).append('%s: %s' % (place, _why(error)))
    if not answers:
        raise Trouble('no geproxy answers%s' % (': ' + '; '.join(silent + gone) if silent or gone else
                                                ': there is no socket where [admin] listen, or --admin, says. '
                                                'Does geproxy run, started with that [admin] listen?'))
    return answers, silent


def _ask_one(place, method, path):
    """-> (the process, status, lines). Raises socket.error, ProxyError."""
    reader = Reader(place, method, path)
    try:
        return reader.process, reader.status, reader.all_lines()
    finally:
        reader.stream.close()


def _is_known(process, known):
    """Whether a process is among those in a set; it is from now on."""
    before = len(known)
    known.add(process)
    return len(known) == before


def _may_be_ours(response):
    """False for what no admin listener sends, of any version."""
    return not response.values(b'proxy-status') and b' '.join(response.values(b'content-type')).startswith(
        (b'text/plain', b'application/x-ndjson'))


def _why(error):
    if isinstance(error, errors.ResponseTimeout):
        return 'no answer within %d s' % WAIT.seconds       # stopped, or its loop is stuck
    if isinstance(error, errors.ProxyError):
        return str(error)
    if isinstance(error, socket.timeout) or not error.args:
        return 'no answer'
    if not isinstance(error.args[0], int):
        return str(error.args[-1])
    hint = '; ' + AS_WHOM if error.args[0] == errno.EACCES else ''
    return os.strerror(error.args[0]).lower() + hint


def check(answers):
    """Raises Trouble if one of the answers says no."""
    for place, status, lines in answers:
        if status != 200:
            raise Trouble('%s says %d: %s' % (place, status, ' '.join(lines)))


class Tails(object):
    """The streams of all processes, as one. Those that start meanwhile are found."""

    def __init__(self, find):
        """`find`: returns where to ask."""
        self._find = find
        self._readers = {}              # {place: Reader}
        self._doubles = {}              # {place: a Reader of the same process, by way of another place}
        self._looked = 0.0              # in monotonic seconds
        self.look()
        if not self._readers:
            ask(self._find(), b'GET', b'/-/healthy')        # says why

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for reader in self._readers.values():
            reader.stream.close()

    def look(self):
        """Look for processes that are new."""
        self._looked = monotonic()
        for place in self._find():
            if place not in self._readers and self._doubles.get(place) not in self._readers.values():
                try:
                    reader = Reader(place, b'GET', b'/-/tail')
                except (socket.error, errors.ProxyError):
                    continue            # it ends, or has not begun
                if reader.status != 200:
                    check([(place, reader.status, reader.all_lines())])
                double = [each for each in self._readers.values() if each.process == reader.process]
                if double:
                    reader.stream.close()
                    self._doubles[place] = double[0]
                else:
                    self._readers[place] = reader

    def wait(self):
        """Wait until there is a process again."""
        while not self._readers:
            time.sleep(LOOK / 10)
            self.look()

    def lines(self, deadline):
        """Wait for lines -> what is there, [] at the deadline; None when all processes have ended: see `wait`."""
        if monotonic() - self._looked > LOOK:
            self.look()
        if not self._readers:
            return None
        # What came along with a head is there already.
        ready = [reader for reader in self._readers.values() if reader.stream.buffer]
        if not ready:
            stream = wait_readable([reader.stream for reader in self._readers.values()],
                                   min(deadline, self._looked + LOOK))
            ready = [reader for reader in self._readers.values() if reader.stream is stream]
        return [line for reader in ready for line in self._take(reader)]

    def _take(self, reader):
        try:
            lines = reader.lines()
        except errors.ProxyError:
            lines = None                # it was killed
        if lines is None:
            reader.stream.close()
            self._readers = dict((place, each) for place, each in self._readers.items() if each is not reader)
        return lines or []

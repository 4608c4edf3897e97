"""The client of the admin listener: finds the processes that run, asks them, and reads their streams of events.

`ask` asks all processes and returns their answers. `Tails` reads the lines of all processes as one stream; processes
that start later are added. An admin address is native text: 'unix:/PATH' or 'HOST:PORT'.
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


NO_ADMIN_HERE = ('this is no admin listener (it answers %d): use the address in [admin] listen, not the port of '
                 'clients; with -c FILE it is found')
AS_WHOM = 'be root, or the user that runs geproxy'
_GONE = (errno.ECONNREFUSED, errno.ENOENT)      # a process was killed, and has left its socket, or has just ended


class Trouble(Exception):
    """Why a command cannot be done, as a sentence for the operator."""


def addresses(admin, path):
    """Return the admin addresses of the processes that run. `admin`, `path`, raises: as for `patterns`."""
    return [address for each in patterns(admin, path) for address in _spread(each)]


def patterns(admin, path):
    """Return the admin addresses as they are configured: there may be folders, file patterns and {pid} in them.

    `admin`: a list of them, from the command line; `path`: of the ini file whose [admin] listen is used if that list is
    empty, or None. Raises Trouble if the file has no [admin] listen, ValueError if there is neither, and ConfigError.
    """
    if admin:
        return admin
    if not path:
        raise ValueError('no admin address: give -c FILE, an ini file with [admin] listen, or --admin ADDRESS')
    try:
        # Not `load`: a file with mistakes must not keep the operator from looking at the processes.
        found = loading.load_option(path, 'admin', 'listen')
    except EnvironmentError as error:
        raise ValueError('%s: %s' % (path, error.strerror))
    if not found:
        raise Trouble(NO_ADMIN % path)
    return ['unix:' + listener.path if isinstance(listener, option_types.UnixListener)
            else '%s:%d' % (listener.host or '127.0.0.1', listener.port) for listener in found]


def address_of(pid, wanted):
    """Return the admin address of a process, or None if the patterns do not tell.

    `pid`: the process id, an int; `wanted`: what `patterns` has returned.
    """
    for each in wanted:
        address = each.replace('{pid}', '%d' % pid)
        if not address.startswith('unix:') or not (os.path.isdir(address[len('unix:'):]) or glob.has_magic(address)):
            return address
    return None


def _spread(pattern):
    if not pattern.startswith('unix:'):
        return [pattern]
    path = pattern[len('unix:'):]
    if '{pid}' not in path and not os.path.isdir(path) and not glob.has_magic(path):
        return [pattern]
    here = path if os.path.isdir(path) else os.path.dirname(path)
    if os.path.isdir(here) and not os.access(here, os.R_OK | os.X_OK):
        raise Trouble('%s: permission denied; %s' % (here, AS_WHOM))
    return ['unix:' + each for each in unix_sockets.matches(path)]


def _dial(address):
    """Return a socket that is connected to an admin address. Raises socket.error, and ValueError if it is none."""
    if address.startswith('unix:'):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(DIAL)
            sock.connect(address[len('unix:'):])
        except socket.error:
            sock.close()
            raise
        return sock
    host, _, port = address.rpartition(':')
    if not host or not port.isdigit():
        raise ValueError("invalid admin address '%s': expected 127.0.0.1:9001 or unix:/PATH" % address)
    return socket.create_connection((host.strip('[]'), int(port)), DIAL)


class Reader(object):
    """One response, read as it comes. The caller closes `stream`.

    `status`: an int; `process`: octets or native text that are the same for all admin addresses of a process.
    """

    def __init__(self, address, method, path):
        """Send a request, and read the head of the response. May wait. Raises socket.error, ProxyError, ValueError.

        `address`: an admin address; `method`, `path`: octets.
        """
        self.stream = Stream(_dial(address), address, errors.UpstreamLost)
        self._rest = b''
        try:
            self.stream.send(b'%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' % (method, path), WAIT)
            head = self.stream.read_head(LIMITS.head_size, WAIT, monotonic() + WAIT.seconds,
                                         reading.check_response_start)
            if not head:
                raise errors.UpstreamLost('it closed the connection without an answer')
            response = reading.parse_response(head)
            self.status, self._body = response.status, framing.response_body(response, method, LIMITS)
            # Older processes do not send this field: then the address stands for the process.
            self.process = b' '.join(response.values(b'geproxy-process')) or address
            if self.process is address and not _may_be_ours(response):
                raise errors.UpstreamLost(NO_ADMIN_HERE % response.status)
        except errors.ProxyError:
            self.stream.close()
            raise

    def lines(self):
        """Return the lines that have come, as a list of native text; None at the end. Does not wait."""
        got = self.stream.read_now()
        if got is None:
            return []
        if not got[1] or self._body.done:
            return None
        lines = (self._rest + chunks.bytes_of(self._body.feed(*got))).split(b'\n')
        self._rest = lines.pop()
        return [to_native(line) for line in lines]

    def all_lines(self):
        """Return all lines to the end. May wait."""
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
    """Ask all processes. Return ([(address, status, lines)] of those that answer, [reason] of those that do not).

    `wanted`: admin addresses; `method`, `path`: octets. A process with several addresses is asked once. May wait.
    Raises Trouble if no process answers.
    """
    answers, silent, gone, known = [], [], [], set()
    for address in wanted:
        try:
            # The health check tells the process: none must be told twice to do the same.
            if len(wanted) > 1 and _is_known(_ask_one(address, b'GET', b'/-/healthy')[0], known):
                continue
            answers.append((address,) + _ask_one(address, method, path)[1:])
        except (socket.error, errors.ProxyError) as error:
            has_ended = not isinstance(error, errors.ProxyError) and error.args[:1] and error.args[0] in _GONE
            (gone if has_ended else silent).append('%s: %s' % (address, _why(error)))
    if not answers:
        raise Trouble('no geproxy answers%s' % (': ' + '; '.join(silent + gone) if silent or gone else
                                                ': there is no socket at the address of [admin] listen, or --admin. '
                                                'Is geproxy running, and was it started with that [admin] listen?'))
    return answers, silent


def _ask_one(address, method, path):
    """Return (process, status, lines), see Reader. Raises socket.error, ProxyError."""
    reader = Reader(address, method, path)
    try:
        return reader.process, reader.status, reader.all_lines()
    finally:
        reader.stream.close()


def _is_known(process, known):
    """Return True if a process is in the set `known`, and add it."""
    before = len(known)
    known.add(process)
    return len(known) == before


def _may_be_ours(response):
    """Return False for a response that no admin listener, of any version, sends."""
    return not response.values(b'proxy-status') and b' '.join(response.values(b'content-type')).startswith(
        (b'text/plain', b'application/x-ndjson'))


def _why(error):
    if isinstance(error, errors.ResponseTimeout):
        return 'no answer within %d s' % WAIT.seconds       # it is stopped, or its event loop is blocked
    if isinstance(error, errors.ProxyError):
        return str(error)
    if isinstance(error, socket.timeout) or not error.args:
        return 'no answer'
    if not isinstance(error.args[0], int):
        return str(error.args[-1])
    hint = '; ' + AS_WHOM if error.args[0] == errno.EACCES else ''
    return os.strerror(error.args[0]).lower() + hint


def check(answers):
    """Raise Trouble if a process has refused. `answers`: the first value that `ask` returns."""
    for address, status, lines in answers:
        if status != 200:
            raise Trouble('%s says %d: %s' % (address, status, ' '.join(lines)))


class Tails(object):
    """The streams of events of all processes, as one. Processes that start later are found."""

    def __init__(self, find):
        """Begin to read. `find`: a function that returns the admin addresses. Raises Trouble if no process answers."""
        self._find = find
        self._readers = {}              # {address: Reader}
        self._doubles = {}              # {address: the Reader of the same process, by another address}
        self._looked = 0.0              # in monotonic seconds
        self.look()
        if not self._readers:
            ask(self._find(), b'GET', b'/-/healthy')        # raises the reason

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for reader in self._readers.values():
            reader.stream.close()

    def look(self):
        """Look for new processes, and read their streams, too. May wait. Raises Trouble if one refuses."""
        self._looked = monotonic()
        for address in self._find():
            if address not in self._readers and self._doubles.get(address) not in self._readers.values():
                try:
                    reader = Reader(address, b'GET', b'/-/tail')
                except (socket.error, errors.ProxyError):
                    continue            # the process is ending, or not ready yet
                if reader.status != 200:
                    check([(address, reader.status, reader.all_lines())])
                double = [each for each in self._readers.values() if each.process == reader.process]
                if double:
                    reader.stream.close()
                    self._doubles[address] = double[0]
                else:
                    self._readers[address] = reader

    def wait(self):
        """Wait, without a limit, until a process runs again."""
        while not self._readers:
            time.sleep(LOOK / 10)
            self.look()

    def lines(self, deadline):
        """Wait for lines, and return those that have come; None if all processes have ended: see `wait`.

        `deadline`: monotonic seconds; then the list is empty.
        """
        if monotonic() - self._looked > LOOK:
            self.look()
        if not self._readers:
            return None
        # Lines that came together with a head are in the buffer already.
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
            lines = None                # the process was killed
        if lines is None:
            reader.stream.close()
            self._readers = dict((address, each) for address, each in self._readers.items() if each is not reader)
        return lines or []

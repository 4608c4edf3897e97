"""Where the lines of a log go: a file, standard output, or syslogd. To be used by a thread that may wait for ever.

`write` takes lines as native text -> (how many are lost, those to try again later). What somebody should be told goes
to a function `tell`, once.
"""
from __future__ import absolute_import, division, print_function

import collections
import errno
import os
import re
import socket
import time

from geproxy import wording
from geproxy.compat import NativeSocket, native_getaddrinfo, native_sleep, to_octets

PAUSE = 0.05            # seconds, before a terminal that somebody made non-blocking is tried again
RETRY = 1.0             # seconds, before a full disk, or a syslogd that is not there, is tried again
DATAGRAM = 8192         # octets; what goes on is cut off. RFC 3164 has 1024, but rsyslog and syslog-ng take these
LOCAL = '/dev/log'
# A syslogd: by `path` of its socket, by `host` and `port`, or, if both are '', where it always is.
SyslogAddress = collections.namedtuple('SyslogAddress', 'facility path host port')
SYSLOG_PORT = 514
# RFC 3164, 4.1.1
FACILITIES = dict((name, number) for number, name in enumerate(
    'kern user mail daemon auth syslog lpr news uucp cron authpriv ftp'.split()))
FACILITIES.update(('local%d' % number, 16 + number) for number in range(8))
INFO, NOTICE = 6, 5     # severities: RFC 3164, 4.1.1


def open_outlet(path, tell):
    """The outlet for a value of [log]. Raises OSError if a file cannot be opened."""
    target = syslog_address(path)
    return Syslog(target, tell) if target else File(path, tell)


def syslog_address(text):
    """Return the SyslogAddress that a value of [log] stands for; None if it names a file.

    `text`: native text: syslog, syslog:FACILITY, syslog:/path/of/a/socket or syslog://HOST:PORT. Raises ValueError if
    it begins with syslog: and is none of these.
    """
    word, colon, rest = text.partition(':')
    if word != 'syslog':
        return None
    if not colon or rest in FACILITIES:
        return SyslogAddress(FACILITIES[rest or 'daemon'], '', '', 0)
    if rest[:2] == '//':
        match = re.match(r'//(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{1,5}))?\Z', rest)
        if match and 0 < int(match.group(2) or SYSLOG_PORT) < 65536:
            return SyslogAddress(
                FACILITIES['daemon'], '', match.group(1).strip('[]'), int(match.group(2) or SYSLOG_PORT))
    elif rest[:1] == '/':
        return SyslogAddress(FACILITIES['daemon'], rest, '', 0)
    raise ValueError("'%s' is no syslog: it takes syslog, syslog:FACILITY%s, syslog:/path/of/a/socket or "
                     "syslog://HOST:514" % (text, wording.did_you_mean(rest, FACILITIES)))


def is_journal(fd):
    """Whether a descriptor leads to systemd's journal, which keeps time and process of each line: systemd.exec(5)."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get('JOURNAL_STREAM') == '%d:%d' % (found.st_dev, found.st_ino)


class File(object):
    """A file that is appended to; '-' is standard output, '-2' standard error."""
    stamps = False                      # does not say by itself when, and who

    def __init__(self, path, tell):
        self.path, self._tell = path, tell
        self._torn = False              # it ends in the middle of a line
        self._fd = self._open()         # here, so that a path that cannot be opened is an error at the start

    def write(self, lines):
        """See above."""
        data = b'\n' * self._torn + b'\n'.join(map(to_octets, lines)) + b'\n'
        while data:
            try:
                written = os.write(self._fd, data)
                self._torn = data[written - 1:written] != b'\n'
                data = data[written:]
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                    native_sleep(PAUSE)
                    continue
                native_sleep(RETRY)     # the disk is full, the reader is gone
                return min(data.count(b'\n'), len(lines)), []
        return 0, []

    def reopen(self):
        """Go on with a new file of that name (logrotate)."""
        if self.path in ('-', '-2'):
            return
        try:
            fresh = self._open()
        except OSError as error:
            # The old file is better than none.
            self._tell("cannot open the log '%s' anew: %s; its lines go on to the old file" % (
                self.path, error.strerror))
            return
        os.close(self._fd)
        self._fd, self._torn = fresh, False

    def close(self):
        """No more will come."""
        if self.path not in ('-', '-2'):
            os.close(self._fd)

    def _open(self):
        if self.path in ('-', '-2'):
            return 1 if self.path == '-' else 2
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, 'O_CLOEXEC', 0), 0o640)


class Syslog(object):
    """A syslogd, by datagrams (RFC 3164, which all of them understand, journald included)."""
    stamps = True

    def __init__(self, target, tell):
        """`target`: a SyslogAddress. It need not be there yet."""
        self._target, self._tell = target, tell
        self._host = ' ' + socket.gethostname() if target.host else ''      # only by the network: 4.1.2
        self._socket = None
        self._told = False

    def dress(self, line, severity):
        """The line as it is queued: a message, of now."""
        at = time.localtime()
        month = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split()[at.tm_mon - 1]    # strftime would translate
        return '<%d>%s %2d %02d:%02d:%02d%s geproxy[%d]: %s' % (
            self._target.facility * 8 + severity, month, at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec, self._host,
            os.getpid(), line)

    def write(self, lines):
        """See above."""
        for number, line in enumerate(lines):
            if not self._send(to_octets(line)[:DATAGRAM]):
                native_sleep(RETRY)
                return 0, lines[number:]
        return 0, []

    def _send(self, datagram):
        problem = None
        for _ in range(2):              # the second time by a new socket: syslogd may have been restarted
            try:
                if self._socket is None:
                    self._connect()
                self._socket.send(datagram)
                self._told = False
                return True
            except (socket.error, UnicodeError) as error:       # the latter by a host that cannot be one
                problem = error
                self.close()
        if not self._told:
            self._told = True
            self._tell('syslog: %s: %s; lines wait for it, as many as there is room for' % (
                self._target.host or self._target.path or LOCAL, problem.args[-1]))
        return False

    def _connect(self):
        target = self._target
        if target.host:
            family, _kind, _proto, _name, place = native_getaddrinfo(
                target.host, target.port, socket.AF_UNSPEC, socket.SOCK_DGRAM)[0]
        else:
            family, place = socket.AF_UNIX, target.path or LOCAL
        self._socket = NativeSocket(family, socket.SOCK_DGRAM)
        self._socket.connect(place)

    def reopen(self):
        """Go on with a new socket."""
        self.close()

    def close(self):
        """No more will come."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

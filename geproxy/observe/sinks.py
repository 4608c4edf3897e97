"""Writes the lines of a log to a file, to standard output, or to syslogd. Used by a thread that may wait for ever.

A sink has `write(lines)`. It takes a list of native text, and returns (how many are lost, a list of those to try again
later). It passes messages for the operator to a function `tell`, each only once.
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

PAUSE = 0.05            # seconds before the next try, at a full terminal that another program has made non-blocking
RETRY = 1.0             # seconds before the next try, at a full disk, or a syslogd that is not there
DATAGRAM = 8192         # octets; the rest of a line is cut off. RFC 3164 has 1024, rsyslog and syslog-ng take these
LOCAL = '/dev/log'
# A syslogd: at the socket `path`, or at `host` and `port`; if both are '', at LOCAL.
SyslogAddress = collections.namedtuple('SyslogAddress', 'facility path host port')
SYSLOG_PORT = 514
# RFC 3164, 4.1.1
FACILITIES = dict((name, number) for number, name in enumerate(
    'kern user mail daemon auth syslog lpr news uucp cron authpriv ftp'.split()))
FACILITIES.update(('local%d' % number, 16 + number) for number in range(8))
INFO, NOTICE = 6, 5     # severities: RFC 3164, 4.1.1


def open_sink(path, tell):
    """Return the sink for a value of [log]. Raises OSError if a file cannot be opened.

    `path`: native text, see log.Writer; `tell`: a function of native text.
    """
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
    raise ValueError("invalid syslog address '%s': expected syslog, syslog:FACILITY%s, syslog:/path/of/a/socket or "
                     "syslog://HOST:514" % (text, wording.did_you_mean(rest, FACILITIES)))


def is_journal(fd):
    """Return True if a descriptor leads to systemd's journal, which adds time and process to each line.

    `fd`: an int. See JOURNAL_STREAM in systemd.exec(5).
    """
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get('JOURNAL_STREAM') == '%d:%d' % (found.st_dev, found.st_ino)


class File(object):
    """A file that is appended to; '-' is standard output, '-2' standard error."""
    stamps = False                      # true: it adds time and process to each line by itself

    def __init__(self, path, tell):
        """Open the file. `path`, `tell`: as for `open_sink`. Raises OSError."""
        self.path, self._tell = path, tell
        self._torn = False              # it ends in the middle of a line
        self._fd = self._open()         # not in the thread: a path that cannot be opened is an error at the start

    def write(self, lines):
        """Write lines; see the top of this file."""
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
                native_sleep(RETRY)     # the disk is full, or the reader is gone
                return min(data.count(b'\n'), len(lines)), []
        return 0, []

    def reopen(self):
        """Open the file again, and write to the new one from now on (logrotate)."""
        if self.path in ('-', '-2'):
            return
        try:
            fresh = self._open()
        except OSError as error:
            # The old file is better than none.
            self._tell("cannot reopen the log '%s': %s; its lines still go to the old file" % (
                self.path, error.strerror))
            return
        os.close(self._fd)
        self._fd, self._torn = fresh, False

    def close(self):
        """Close the file."""
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
        """Do not connect yet: syslogd may start later. `target`: a SyslogAddress; `tell`: as for `open_sink`."""
        self._target, self._tell = target, tell
        self._host = ' ' + socket.gethostname() if target.host else ''      # only by the network: 4.1.2
        self._socket = None
        self._told = False              # the operator was told that it is not there

    def to_message(self, line, severity):
        """Return a line as a syslog message of now, native text (RFC 3164, 4.1). `severity`: an int."""
        at = time.localtime()
        return '<%d>%s %2d %02d:%02d:%02d%s geproxy[%d]: %s' % (
            self._target.facility * 8 + severity, wording.MONTHS[at.tm_mon - 1], at.tm_mday, at.tm_hour, at.tm_min,
            at.tm_sec, self._host, os.getpid(), line)

    def write(self, lines):
        """Send lines; see the top of this file."""
        for number, line in enumerate(lines):
            if not self._send(to_octets(line)[:DATAGRAM]):
                native_sleep(RETRY)
                return 0, lines[number:]
        return 0, []

    def _send(self, datagram):
        problem = None
        for _ in range(2):              # the second time with a new socket: syslogd may have been restarted
            try:
                if self._socket is None:
                    self._connect()
                self._socket.send(datagram)
                self._told = False
                return True
            except (socket.error, UnicodeError) as error:       # the latter for a host that cannot be a name
                problem = error
                self.close()
        if not self._told:
            self._told = True
            self._tell('syslog: %s: %s; log lines wait in the queue until it answers' % (
                self._target.host or self._target.path or LOCAL, problem.args[-1]))
        return False

    def _connect(self):
        target = self._target
        if target.host:
            family, _kind, _proto, _name, address = native_getaddrinfo(
                target.host, target.port, socket.AF_UNSPEC, socket.SOCK_DGRAM)[0]
        else:
            family, address = socket.AF_UNIX, target.path or LOCAL
        self._socket = NativeSocket(family, socket.SOCK_DGRAM)
        self._socket.connect(address)

    def reopen(self):
        """Connect again with the next line."""
        self.close()

    def close(self):
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

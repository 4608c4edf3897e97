"""Lines to files, terminals and pipes. Never stalls a connection: a bounded queue, and a native thread that writes.

Whatever a line is written to may block for ever -- the full pipe of a stopped supervisord, a dead NFS -- and stops
that one thread then, and nothing else. What had to be dropped is counted; who asks for the number says it, in the
error log, so that the lines of an access log are of its format and nothing else.
"""
from __future__ import absolute_import, division, print_function

import collections
import os
import sys
import time

from geproxy.compat import monotonic, native_lock, native_lock_error, native_sleep, start_native_thread
from geproxy.net import supervise
from geproxy.observe import formats, sinks

GUESSES = ('login_failed', 'login_throttled')
QUEUE = 10000           # lines; more are dropped
QUEUE_SIZE = 16 * 1024 * 1024       # octets of these lines; a URL may have 64 KiB
GATHER = 0.05           # seconds that lines gather before they are written in one piece
BLOCK = 64 * 1024       # octets written at once, about


class Writer(object):
    """One outlet, with its queue and its thread."""

    def __init__(self, path):
        """`path`: as option_types.log_path has it; '-' for standard output, '-2' for standard error."""
        self.trouble = ''                   # what somebody should be told, once
        self._refused = self._lost = 0      # lines: there was no room in the queue, or where they go
        self._queued = self._written = 0    # characters that went in, and out
        self._lines = collections.deque()
        self._work = native_lock()          # held while there is nothing to do
        self._work.acquire()
        self._awake = False
        self._reopen = self._closing = self._over = False
        self._outlet = sinks.open_outlet(path, self._tell)
        self.stamps = self._outlet.stamps   # says by itself of each line when, and who
        start_native_thread(supervise.keep, ('the log', self._run, self._tell, native_sleep))

    @property
    def dropped(self):
        """How many lines were dropped so far, in all."""
        return self._refused + self._lost       # each is counted by one thread only

    def write(self, line, severity=sinks.INFO):
        """Queue native text of one line. `severity`: for syslog."""
        if len(self._lines) >= QUEUE or self._queued - self._written > QUEUE_SIZE:
            self._refused += 1
            return
        if self.stamps:
            line = self._outlet.dress(line, severity)
        self._queued += len(line)
        self._lines.append(line)
        if not self._awake:
            self._wake()

    def reopen(self):
        """Open the file anew: what was queued before this goes to the new one (logrotate)."""
        self._reopen = True
        self._wake()

    def close(self, seconds):
        """Write what is queued, for no longer than `seconds`."""
        self._closing = True
        self._wake()
        deadline = monotonic() + seconds
        while not self._over and monotonic() < deadline:
            native_sleep(0.005)

    def _wake(self):
        if not self._awake:             # only the thread resets it, and only once it holds the lock
            self._awake = True
            try:
                self._work.release()
            except native_lock_error:
                pass                    # another thread, the watchdog, was quicker

    def _tell(self, text):
        self.trouble = text

    def _run(self):
        """The thread; started anew if it has failed."""
        if self._over:
            return                          # it failed to close the file: nothing is left to do
        self._awake = False
        if self._lines or self._closing:
            self._wake()                    # nobody else would, for lines that are queued already
        while not self._over:
            self._work.acquire()
            if not self._closing:
                native_sleep(GATHER)
            self._awake = False             # from here on a new line wakes anew
            if self._reopen:
                self._reopen = False
                self._outlet.reopen()
            while self._lines:
                self._write_block()
            self._over = self._closing and not self._lines
        self._outlet.close()

    def _write_block(self):
        lines, size = [], 0
        try:
            while self._lines and size < BLOCK:
                lines.append(self._lines.popleft())
                size += len(lines[-1])
            self._written += size
            lost, left = self._outlet.write(lines)
        except Exception:
            self._lost += len(lines)        # at most: what the outlet has done with them is not known
            raise
        self._lost += lost
        if left and self._closing:
            self._lost += len(left)         # nobody waits for it any more
        elif left:
            self._written -= sum(map(len, left))
            self._lines.extendleft(reversed(left))


def _here(do, path):
    return do(path)


class Log(object):
    """The access log and the error log."""

    def __init__(self, settings):
        """`settings`: the section [log]. Raises OSError if a file cannot be opened."""
        self._writers = {}
        self._gone = 0                          # lines dropped by writers that are no more
        self._use(settings, _here)

    def _use(self, settings, call):
        access, said = settings.access, '-2' if settings.errors == '-' else settings.errors
        wanted = set((access, said)) - set(('off',))
        opened = dict((path, self._writers[path]) for path in wanted if path in self._writers)
        try:
            for path in sorted(wanted - set(opened)):
                opened[path] = call(Writer, path)
        except BaseException:
            self._end(set(opened) - set(self._writers), opened)
            raise
        self._end(set(self._writers) - wanted, self._writers)
        self._writers = opened
        self._access, self._errors = opened.get(access), opened.get(said)
        self.format = settings.format
        if self.format == 'auto':
            self.format = 'console' if access == '-' else 'squid'
        self._line = formats.FORMATS[self.format]
        self._query = settings.query == 'on' or settings.query == 'auto' and self.format == 'console'
        terminal = access == '-' and os.isatty(1)
        self._colour = terminal and self.format == 'console' and not os.environ.get('NO_COLOR')
        self._stamp = '%H:%M:%S ' if terminal else '%Y-%m-%d %H:%M:%S '
        if self._access is not None and self._access.stamps or access == '-' and sinks.is_journal(1):
            self._stamp = ''
        self._bare = said == '-2' and sinks.is_journal(2)     # says by itself of each line when, and who

    def _end(self, paths, writers):
        for path in paths:
            self._gone += writers[path].dropped
            writers[path].close(0)              # it writes what it has, and ends by itself

    def change(self, settings, call=_here):
        """Go on with other settings. Raises OSError, and changes nothing, if a file cannot be opened.

        `call`: call(do, path) returns do(path), for a path that may take for ever to open: a pipe that nobody reads."""
        self._use(settings, call)

    def ended(self, record):
        """Log an exchange that has ended. `record`: its Record."""
        if self._access is not None:
            line = self._line(record, self._query)
            self._access.write(self._paint(line, record.status) if self.format == 'console' else line)
        if record.reason or record.would:
            self._explain(record)

    def _explain(self, record):
        """In the error log, where the access log has no room for it."""
        brief = self.format not in ('console', 'json')
        # Log-ins that failed stand there whatever the format is: that is where fail2ban looks.
        if record.reason in GUESSES or record.reason and brief:
            self.say(formats.failure_line(record))
        if record.would and brief:
            self.say(formats.report_line(record))

    def opened(self, record):
        """Show on the console that a tunnel has opened. `record`: the Record of its exchange."""
        if self._access is not None and self.format == 'console':
            self._access.write(self._paint(formats.opened_line(record, self._query), 0))

    def say(self, text):
        """A line, or several, about the process itself, native text."""
        if self._errors is not None:
            stamp = '' if self._errors.stamps or self._bare else '%s geproxy[%d] ' % (
                time.strftime('%Y-%m-%d %H:%M:%S'), os.getpid())
            for line in text.splitlines():
                self._errors.write(stamp + line, sinks.NOTICE)

    def reopen(self):
        """Open all files anew."""
        for writer in self._writers.values():
            writer.reopen()

    def troubles(self):
        """What has gone wrong since this was asked last, as texts."""
        found = [writer.trouble for writer in self._writers.values() if writer.trouble]
        for writer in self._writers.values():
            writer.trouble = ''
        return found

    def dropped(self):
        """How many lines were dropped so far, in all."""
        return self._gone + sum(writer.dropped for writer in self._writers.values())

    def close(self, seconds=2.0):
        """Write what is queued, for no longer than `seconds` each."""
        for writer in self._writers.values():
            writer.close(seconds)

    def _paint(self, line, status):
        stamp = time.strftime(self._stamp)
        if not self._colour:
            return stamp + line
        colour = {0: '35', 2: '32', 3: '36', 4: '33', 5: '31'}.get(status // 100, '0')
        return '\x1b[2m%s\x1b[0m\x1b[%sm%s\x1b[0m' % (stamp, colour, line)


def complain(text):
    """One line to standard error, when there is no log yet."""
    sys.stderr.write('geproxy: %s\n' % text)
    sys.stderr.flush()

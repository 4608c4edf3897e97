"""The access log and the error log: lines go to a bounded queue, and a native thread writes them.

Writing may block for ever (the full pipe of a stopped supervisord, a dead NFS). Then that thread waits, and nothing
else does. Lines that find no room are dropped and counted; housekeeping says in the error log how many, so that an
access log has lines of its format only.
"""
from __future__ import absolute_import, division, print_function

import collections
import os
import sys
import time

from geproxy.compat import monotonic, native_lock, native_lock_error, native_sleep, start_native_thread
from geproxy.net import supervise
from geproxy.observe import formats, sinks

GUESSES = ('login_failed', 'login_throttled')       # reasons that fail2ban looks for
QUEUE = 10000           # lines; more are dropped
QUEUE_SIZE = 16 * 1024 * 1024       # octets of these lines
GATHER = 0.05           # seconds that lines gather before they are written in one piece
BLOCK = 64 * 1024       # octets written at once, about


class Writer(object):
    """One sink, with its queue and its thread."""

    def __init__(self, path):
        """Open the sink. Raises OSError if a file cannot be opened.

        `path`: native text, a path or syslog address of [log]; '-' for standard output, '-2' for standard error.
        """
        self.trouble = ''                   # what the operator should be told, once
        self._refused = self._lost = 0      # dropped lines: no room in the queue; the sink could not write them
        self._queued = self._written = 0    # characters that went into the queue, and out of it
        self._lines = collections.deque()
        self._work = native_lock()          # held while there is nothing to do
        self._work.acquire()
        self._awake = False
        self._reopen = self._closing = self._over = False
        self._sink = sinks.open_sink(path, self._tell)
        self.stamps = self._sink.stamps     # it adds time and process to each line by itself
        start_native_thread(supervise.keep_running, ('the log', self._run, self._tell, native_sleep))

    @property
    def dropped(self):
        """The number of lines that were dropped so far."""
        return self._refused + self._lost       # each is counted by one thread only

    def write(self, line, severity=sinks.INFO):
        """Queue one line, or drop it if the queue is full. `line`: native text; `severity`: for syslog, an int."""
        if len(self._lines) >= QUEUE or self._queued - self._written > QUEUE_SIZE:
            self._refused += 1
            return
        if self.stamps:
            line = self._sink.to_message(line, severity)
        self._queued += len(line)
        self._lines.append(line)
        if not self._awake:
            self._wake()

    def reopen(self):
        """Open the file again (logrotate). Lines that are queued now go to the new file."""
        self._reopen = True
        self._wake()

    def close(self, seconds):
        """Write the lines that are queued, and end the thread. Waits `seconds` for that at most."""
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
                pass                    # the watchdog, another thread, has released it already

    def _tell(self, text):
        self.trouble = text

    def _run(self):
        """The thread. After a failure it is started again."""
        if self._over:
            return                          # closing the file failed: nothing is left to do
        self._awake = False
        if self._lines or self._closing:
            self._wake()                    # for lines that are queued already, `write` does not wake it
        while not self._over:
            self._work.acquire()
            if not self._closing:
                native_sleep(GATHER)
            self._awake = False             # from here on, a new line wakes this thread again
            if self._reopen:
                self._reopen = False
                self._sink.reopen()
            while self._lines:
                self._write_block()
            self._over = self._closing and not self._lines
        self._sink.close()

    def _write_block(self):
        lines, size = [], 0
        try:
            while self._lines and size < BLOCK:
                lines.append(self._lines.popleft())
                size += len(lines[-1])
            self._written += size
            lost, left = self._sink.write(lines)
        except Exception:
            self._lost += len(lines)        # at most: the sink may have written some of them
            raise
        self._lost += lost
        if left and self._closing:
            self._lost += len(left)         # the process ends, and does not try again
        elif left:
            self._written -= sum(map(len, left))
            self._lines.extendleft(reversed(left))


def _directly(do, path):
    return do(path)


class Log(object):
    """The access log and the error log."""

    def __init__(self, settings):
        """Open the logs. `settings`: the section [log]. Raises OSError if a file cannot be opened."""
        self._writers = {}                      # {path: Writer}
        self._gone = 0                          # lines dropped by writers that were closed since
        self._use(settings, _directly)

    def _use(self, settings, call):
        access, failures = settings.access, '-2' if settings.errors == '-' else settings.errors
        wanted = set((access, failures)) - set(('off',))
        opened = dict((path, self._writers[path]) for path in wanted if path in self._writers)
        try:
            for path in sorted(wanted - set(opened)):
                opened[path] = call(Writer, path)
        except BaseException:
            self._end(set(opened) - set(self._writers), opened)
            raise
        self._end(set(self._writers) - wanted, self._writers)
        self._writers = opened
        self._access, self._errors = opened.get(access), opened.get(failures)
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
        self._bare = failures == '-2' and sinks.is_journal(2)     # it adds time and process to each line by itself

    def _end(self, paths, writers):
        for path in paths:
            self._gone += writers[path].dropped
            writers[path].close(0)              # its thread writes what is queued, and ends by itself

    def change(self, settings, call=_directly):
        """Use other settings from now on. Raises OSError, and changes nothing, if a file cannot be opened.

        `settings`: the section [log]; `call`: a function: call(do, path) returns do(path). It may use a thread, because
        to open a pipe that no program reads takes for ever.
        """
        self._use(settings, call)

    def ended(self, record):
        """Log an exchange that has ended. `record`: its Record."""
        if self._access is not None:
            line = self._line(record, self._query)
            self._access.write(self._paint(line, record.status) if self.format == 'console' else line)
        if record.reason or record.would:
            self._log_failure(record)

    def _log_failure(self, record):
        """Write to the error log what the format of the access log cannot show."""
        brief = self.format not in ('console', 'json')
        # Failed log-ins are in the error log with every format: fail2ban reads them there.
        if record.reason in GUESSES or record.reason and brief:
            self.say(formats.failure_line(record))
        if record.would and brief:
            self.say(formats.report_line(record))

    def opened(self, record):
        """Show on the console that a tunnel has opened. `record`: the Record of its exchange."""
        if self._access is not None and self.format == 'console':
            self._access.write(self._paint(formats.opened_line(record, self._query), 0))

    def say(self, text):
        """Write to the error log about the process itself. `text`: native, one line or several."""
        if self._errors is not None:
            stamp = '' if self._errors.stamps or self._bare else '%s geproxy[%d] ' % (
                time.strftime('%Y-%m-%d %H:%M:%S'), os.getpid())
            for line in text.splitlines():
                self._errors.write(stamp + line, sinks.NOTICE)

    def reopen(self):
        """Open all files again (logrotate)."""
        for writer in self._writers.values():
            writer.reopen()

    def troubles(self):
        """Return what went wrong with the logs since the last call, as a list of native texts."""
        found = [writer.trouble for writer in self._writers.values() if writer.trouble]
        for writer in self._writers.values():
            writer.trouble = ''
        return found

    def dropped(self):
        """Return how many lines were dropped so far."""
        return self._gone + sum(writer.dropped for writer in self._writers.values())

    def close(self, seconds=2.0):
        """Write the lines that are queued, and end. Waits `seconds` for each file at most."""
        for writer in self._writers.values():
            writer.close(seconds)

    def _paint(self, line, status):
        stamp = time.strftime(self._stamp)
        if not self._colour:
            return stamp + line
        colour = {0: '35', 2: '32', 3: '36', 4: '33', 5: '31'}.get(status // 100, '0')
        return '\x1b[2m%s\x1b[0m\x1b[%sm%s\x1b[0m' % (stamp, colour, line)


def complain(text):
    """Write one line to standard error, when there is no log yet. `text`: native."""
    sys.stderr.write('geproxy: %s\n' % text)
    sys.stderr.flush()

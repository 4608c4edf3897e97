"""A small text file of octets per key and day, which several processes share.

Its functions block, so only a native thread calls them, never the hub. Each process adds its counts under a lock. It
writes a new file beside the old one, syncs it, and renames it, so the file stays valid if the process is killed at any
moment. The operator may read the file, and delete a line to reset a count.
"""
from __future__ import absolute_import, division, print_function

import contextlib
import errno
import fcntl
import io
import os
import re
import stat
import time

from geproxy.compat import to_native, to_octets

SHOWN = 5                       # lines that are not understood and that a message lists
KEYS = 10000                    # in a file, the largest counts; a file of them has about 300 KB
HEAD = '# geproxy: octets up and down since midnight. To forgive somebody, delete the line: it is noticed soon.\n'
_find_count = re.compile(br'([0-9]{1,18}) ([!-~]+)\Z').match
_CLOEXEC = getattr(os, 'O_CLOEXEC', 0)
_find_day = re.compile(br'day ([0-9]{4}-[0-9]{2}-[0-9]{2})\Z').match


def day_of(now):
    """Return the local day of `now`, seconds since the epoch, as 2026-11-24."""
    return time.strftime('%Y-%m-%d', time.localtime(now))


def parse(octets):
    """Return (day, {key: octets}, wrong) from the content of a file, octets.

    As people edit the file, everything that can be understood is returned. `day`: None if no line has it; `wrong`: a
    list of native texts that say what is wrong.
    """
    day, totals, ended, wrong = None, {}, False, []
    for number, line in enumerate(octets.splitlines(), 1):
        count, date = _find_count(line), _find_day(line)
        if line[:1] == b'#' or not line:
            continue
        if count and not ended:
            totals[to_native(count.group(2))] = int(count.group(1))
        elif date and not day:
            day = to_native(date.group(1))
        elif line == b'end' and not ended:
            ended = True
        elif len(wrong) < SHOWN:
            wrong.append('line %d is not understood' % number)
    if day is None:
        wrong.append('there is no line with the day')
    if not ended:
        wrong.append('there is no end')
    return day, totals, wrong


def mend(found, known, octets, today):
    """Return (day, {key: octets}), the probable content of a file with mistakes.

    `found`: what `parse` returned; `known`: (day, {key: octets}), what the file said before; `octets`: its content;
    `today`: the day of its last change, for a file that has no day. A mistake in the line of a key, or a missing end,
    does not make a key disappear: it has the count that it had before.
    """
    day, totals, wrong = found
    day = day or known[0] or today
    if wrong and known[0] == day:
        named = frozenset(octets.split())
        whole = 'there is no end' not in wrong
        for key, count in known[1].items():
            if key not in totals and (not whole or to_octets(key) in named):
                totals[key] = count
    return day, totals


def show(day, totals):
    """Return the content of a file, octets, with the largest counts first. `day`, `totals`: as `parse` returns them."""
    lines = ['%d %s\n' % (count, key) for key, count in _largest(totals)]
    return to_octets('%sday %s\n%send\n' % (HEAD, day, ''.join(lines)))


def _largest(totals):
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))


def merge(kept, counted, today):
    """Return (today, {key: octets}), the new content of the file.

    `kept`: its old content, (day, {key: octets}); `counted`: the counts to add, in the same form; `today`: native text.
    Counts of another day than `today` are dropped.
    """
    totals = {}
    for day, counts in (kept, counted):
        for key, count in counts.items() if day == today else ():
            totals[key] = totals.get(key, 0) + count
    return today, dict(_largest(totals)[:KEYS])


@contextlib.contextmanager
def _unless_missing():
    """Ignore that a file does not exist, in a `with` block."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def _read_regular(path):
    """Return (the time of its last change, in seconds since the epoch; its content, octets)."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _CLOEXEC)     # a pipe without a writer would block for ever
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise EnvironmentError(errno.EINVAL, 'not a regular file', path)
        with io.open(fd, 'rb', closefd=False) as opened:
            return found.st_mtime, opened.read()
    finally:
        os.close(fd)


class QuotaFile(object):
    """The file as one process uses it. For one thread at a time."""

    def __init__(self, path):
        """`path`: of the file, native text. Two more are beside it: its lock, and the new file while it is written."""
        self.path = path
        self._known = (None, {})        # what it said last
        self._seen = ()                 # its inode, time and size then; None if there was none

    def update(self, counted):
        """Add counts to the file. Return ((day, {key: octets}) of all processes, message).

        `counted`: (day, {key: octets}). The first value is None if nothing could be added; then try again. The message
        is native text that says what went wrong, or ''. Blocks, for ever if the disk does. Raises nothing.
        """
        try:
            if not counted[1] and self._stamp() == self._seen:
                return self._known, ''
            with self._locked():
                return self._update(counted)
        except EnvironmentError as error:
            return None, 'quotas are counted in memory only, for %s: %s' % (
                error.filename or self.path, (error.strerror or str(error)).lower())

    def _update(self, counted):
        kept, said = self._read()
        mended = bool(said)
        # The day is read under the lock: a process that waits for it at midnight would bring back yesterday.
        merged = merge(kept, counted, day_of(time.time()))
        if len(merged[1]) == KEYS and not said:
            said = 'quotas are counted for %d users and clients at most: the smallest counts are forgotten' % KEYS
        if merged != kept or mended:
            self._write(show(*merged))
        self._known, self._seen = merged, self._stamp()
        return merged, said

    @contextlib.contextmanager
    def _locked(self):
        fd = os.open(self.path + '.lock', os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | _CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)                # a kill closes it too

    def _stamp(self):
        with _unless_missing():
            found = os.stat(self.path)
            return found.st_ino, found.st_mtime, found.st_size

    def _read(self):
        """Return ((day, {key: octets}), what is wrong with the file, or '')."""
        try:
            changed, octets = _read_regular(self.path)
        except EnvironmentError as error:
            if error.errno != errno.ENOENT:
                raise
            return (None, {}), ''
        parsed = parse(octets)
        if not parsed[2]:
            return parsed[:2], ''
        aside = '%s.bad-%s' % (self.path, time.strftime('%Y%m%d-%H%M%S'))
        try:
            os.link(self.path, aside)   # not renamed: it stays where it is until the next one takes its place
        except OSError as error:
            if error.errno != errno.EEXIST:
                os.rename(self.path, aside)
        return mend(parsed, self._known, octets, day_of(changed)), (
            '%s: %s; all that can be read holds, and the file as it was is kept as %s' % (
                self.path, ', '.join(parsed[2]), aside))

    def _write(self, octets):
        fresh = self.path + '.new'      # one name is enough: the lock is held
        with _unless_missing():
            os.unlink(fresh)            # a kill has left it behind, or it is a link that an attacker has put there
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | _CLOEXEC, 0o640)
        with os.fdopen(fd, 'wb') as opened:
            with _unless_missing():
                before = os.stat(self.path)
                os.fchmod(fd, stat.S_IMODE(before.st_mode) & 0o777)
                if os.geteuid() == 0:
                    os.fchown(fd, before.st_uid, before.st_gid)
            opened.write(octets)
            opened.flush()
            os.fsync(fd)
        os.rename(fresh, self.path)
        self._sync_folder()

    def _sync_folder(self):
        """Sync the folder, so that the new name survives a loss of power, too."""
        try:
            fd = os.open(os.path.dirname(os.path.abspath(self.path)), os.O_RDONLY)
        except OSError:
            return                      # not every file system allows it: the file is whole in any case
        try:
            os.fsync(fd)
        except OSError:
            pass                        # as above
        finally:
            os.close(fd)

"""Reloads: the ini file read again while others are served, all of it or nothing, and what that changes, for people.

Does nothing to exchanges that have begun; knows neither signals nor listeners.
"""
from __future__ import absolute_import, division, print_function

import collections
import traceback

from gevent.lock import BoundedSemaphore

from geproxy.net.background import MOST_STUCK, Background
from geproxy.settings import loading

SLOW = 3.0              # seconds of reading after which the log says that it takes long
PATIENCE = 30.0         # seconds after which a reload is given up; its thread hangs on

Outcome = collections.namedtuple('Outcome', 'good lines')


class Reloads(object):
    """One for the process."""

    def __init__(self, path, log, running, use):
        """`path`: of the ini file, or None; `log`: a log.Log, which moves along and is told what takes long;
        `running`: a function, the Settings that hold; `use`: is given those that hold from now on."""
        self.path = path
        self.done = self.refused = 0        # how many
        self.failing = False                # the last one was refused
        self._log, self._running, self._use = log, running, use
        self._turn = BoundedSemaphore(1)    # one after the other: SIGHUP and the admin listener may both ask
        self._thread = Background(1)

    def run(self, dry_run=False):
        """Read it -> an Outcome: whether it holds now, and what has changed, or what is wrong. May wait.

        Compared with what holds in this process, whatever has been done to the file. `dry_run`: change nothing."""
        with self._turn:
            try:
                outcome = self._attempt(dry_run)
            except Exception:               # a file must not end what has run for years
                outcome = Outcome(False, [
                    'nothing changed, for a bug, please report it:\n%s' % traceback.format_exc()])
            if not dry_run:
                self.failing = not outcome.good
                self.done, self.refused = self.done + outcome.good, self.refused + self.failing
        return outcome

    def _attempt(self, dry_run):
        if self.path is None:
            return Outcome(False, ['there is no ini file to read again (-c)'])
        try:
            settings = self._in_a_thread(loading.load, self.path)
            running = self._running()
            changes = loading.changes(running, settings)
            if dry_run:
                return Outcome(True, changes)
            self._log.change(settings.log, self._in_a_thread)
        except Slow as error:
            return Outcome(False, [str(error)])
        except loading.ConfigError as error:
            return Outcome(False, ['nothing changed, because of mistakes in the file:\n%s' % error])
        except (IOError, OSError) as error:
            return Outcome(False, ['nothing changed, for %s: %s' % (error.filename, error.strerror)])
        self._use(loading.held(running, settings))
        return Outcome(True, changes + ['%s read' % self.path])

    def _in_a_thread(self, do, path):
        """Return do(path), or raise what it raises. May wait, for PATIENCE. Raises Slow.

        Others are served meanwhile: thousands of rules take a second, and a file server that is gone, or a pipe into
        which nobody writes, takes for ever."""
        if self._thread.is_stuck():
            raise Slow('nothing changed: %d reloads before this one still wait for a file' % MOST_STUCK)
        result = self._thread.do(do, path)
        if result.wait(SLOW) is None:
            self._log.say('the reload still waits for %s, or a file that it names, after %d s; until it is read, the '
                          'old settings hold' % (path, SLOW))
            if result.wait(PATIENCE - SLOW) is None:
                self._thread.give_up(result)
                raise Slow('nothing changed, for %s, or a file that it names, could not be read within %d s' % (
                    path, PATIENCE))
        found, wrong = result.value
        if wrong is not None:
            raise wrong
        return found


class Slow(Exception):
    """A file takes too long; the message says which."""

"""Reloads the ini file while clients are served: uses all of it or, after a mistake, nothing. Reports the changes.

Exchanges that have begun are not touched. Knows neither signals nor listeners.
"""
from __future__ import absolute_import, division, print_function

import collections
import traceback

from gevent.lock import BoundedSemaphore

from geproxy.net.background import MOST_STUCK, Background
from geproxy.settings import comparing, loading

SLOW = 3.0              # seconds of reading after which the log says that it takes long
PATIENCE = 30.0         # seconds after which a reload is given up, though its thread still waits for the file

# Of a reload; `good`: a bool; `lines`: native texts, what has changed or what is wrong.
Outcome = collections.namedtuple('Outcome', 'good lines')


class Reloads(object):
    """The reloads of a process.

    `done`, `refused`: how many there were; `failing`: true if the last one was refused.
    """

    def __init__(self, path, log, running, use):
        """`path`: of the ini file as native text, or None; `log`: a log.Log, which gets its settings, too; `running`:
        a function that returns the Settings that hold now; `use`: called with the Settings that hold from now on."""
        self.path = path
        self.done = self.refused = 0
        self.failing = False
        self._log, self._running, self._use = log, running, use
        self._turn = BoundedSemaphore(1)    # one reload at a time: SIGHUP and the admin listener may both ask for one
        self._thread = Background(1)

    def run(self, dry_run=False):
        """Read the file and use it, all or nothing. May wait. Returns an Outcome.

        What has changed is told against the settings that this process runs with, not against an earlier file.
        `dry_run`: only read the file and compare.
        """
        with self._turn:
            try:
                outcome = self._attempt(dry_run)
            except Exception:               # a bug here must not end a process that serves
                outcome = Outcome(False, [
                    'nothing changed: this is a bug, please report it:\n%s' % traceback.format_exc()])
            if not dry_run:
                self.failing = not outcome.good
                self.done, self.refused = self.done + outcome.good, self.refused + self.failing
        return outcome

    def _attempt(self, dry_run):
        if self.path is None:
            return Outcome(False, ['nothing changed: this process was started without an ini file (-c)'])
        try:
            settings = self._in_a_thread(lambda path: loading.load(path, running=self._running()), self.path)
            running = self._running()
            changes = comparing.changes(running, settings)
            if dry_run:
                return Outcome(True, changes)
            self._log.change(settings.log, self._in_a_thread)
        except Slow as error:
            return Outcome(False, [str(error)])
        except loading.ConfigError as error:
            return Outcome(False, ['nothing changed, because of mistakes in the file:\n%s' % error])
        except (IOError, OSError) as error:
            return Outcome(False, ['nothing changed: cannot open %s: %s' % (error.filename, error.strerror)])
        self._use(comparing.without_restart(running, settings))
        return Outcome(True, changes + ['%s read' % self.path])

    def _in_a_thread(self, do, path):
        """Return do(path), or raise what it raises. Waits PATIENCE seconds at most, then raises Slow.

        Clients are served meanwhile, because thousands of rules take a second, and a file on a server that is gone, or
        a pipe without a writer, takes for ever.
        """
        if self._thread.is_stuck():
            raise Slow('nothing changed: %d earlier reloads still wait for a file' % MOST_STUCK)
        result = self._thread.do(do, path)
        if result.wait(SLOW) is None:
            self._log.say('after %d s the reload still waits for %s, or a file that it names; the old settings '
                          'hold until then' % (SLOW, path))
            if result.wait(PATIENCE - SLOW) is None:
                self._thread.give_up(result)
                raise Slow('nothing changed: %s, or a file that it names, could not be read within %d s' % (
                    path, PATIENCE))
        found, wrong = result.value
        if wrong is not None:
            raise wrong
        return found


class Slow(Exception):
    """A file takes too long to read. The message says which."""

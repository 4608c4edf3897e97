"""Reloads: the ini file read again while others are served, all of it or nothing, and what that changes, for people.

Does nothing to exchanges that have begun; knows neither signals nor listeners.
"""
from __future__ import absolute_import, division, print_function

import collections
import traceback

import gevent
from gevent.lock import BoundedSemaphore

from geproxy import config

Outcome = collections.namedtuple('Outcome', 'good lines')


class Reloads(object):
    """One for the process."""

    def __init__(self, path, log, running, use):
        """`path`: of the ini file, or None; `log`: a log.Log, which moves along; `running`: a function, the Settings
        that hold; `use`: is given those that hold from now on."""
        self.path = path
        self.done = self.refused = 0        # how many
        self.failing = False                # the last one was refused
        self._log, self._running, self._use = log, running, use
        self._turn = BoundedSemaphore(1)    # one after the other: SIGHUP and the admin listener may both ask

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
            # In a thread: thousands of rules take a second, in which others are served.
            settings, wrong = gevent.get_hub().threadpool.apply(_load, (self.path,))
            if wrong is not None:
                raise wrong
            running = self._running()
            changes = config.changes(running, settings)
            if dry_run:
                return Outcome(True, changes)
            self._log.change(settings.log)
        except config.ConfigError as error:
            return Outcome(False, ['nothing changed, for what is wrong in the file:\n%s' % error])
        except (IOError, OSError) as error:
            return Outcome(False, ['nothing changed, for %s: %s' % (error.filename, error.strerror)])
        self._use(config.held(running, settings))
        return Outcome(True, changes + ['%s read' % self.path])


def _load(path):
    """In a native thread, of which gevent would print what it raises: -> (Settings or None, the error or None)."""
    try:
        return config.load(path), None
    except Exception as error:
        return None, error

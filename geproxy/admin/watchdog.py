"""Notices that the hub is blocked, while it is, and says where; measures its lag; shows what all greenlets wait for.

A timer of the hub leaves a mark every quarter of a second. A native thread, which runs when the hub does not, looks at
it. Nothing here is called for a connection or a request.
"""
from __future__ import absolute_import, division, print_function

import collections
import gc
import os
import sys
import weakref

import gevent
from greenlet import greenlet

from geproxy.compat import gc_freeze, monotonic, native_ident, native_sleep, start_native_thread
from geproxy.net import supervise

BEAT = 0.25             # seconds between two marks, and between two looks at them
BLOCKED = 1.0           # seconds without a mark that are told
WINDOW = 60.0           # seconds; the lag is the worst of this window and the one before
DEPTH = 25              # innermost frames of a stack that are shown
MOST_STACKS = 100       # different ones that are shown

_frozen = weakref.WeakSet()     # greenlets


class Watchdog(object):
    """One for the process."""

    def __init__(self, say):
        """`say`: log.Log.say; it is called from the thread, too."""
        self.blocked = 0                        # how often
        self._say = say
        self._worst, self._before = 0.0, 0.0    # seconds of lag, in this window and the last
        self._window = self._mark = 0.0         # in monotonic seconds
        self._timer = None
        self._stopped = True
        self._hub = None                        # the native thread that it runs in

    def start(self):
        """Begin to watch the hub of this thread."""
        self._hub, self._stopped = native_ident(), False
        self._window = self._mark = monotonic()
        self._timer = gevent.get_hub().loop.timer(BEAT, BEAT, ref=False)
        self._timer.start(self._beat)
        start_native_thread(supervise.keep, ('the watchdog', self._run, self._say, native_sleep))

    def stop(self):
        """End it; the thread follows within a moment."""
        self._stopped = True
        self._timer.stop()

    @property
    def lag(self):
        """Seconds: the longest that the hub was late, lately."""
        return max(self._worst, self._before)

    def _beat(self):
        """Called by the hub."""
        now = monotonic()
        late = now - self._mark - BEAT
        self._mark = now
        if now - self._window >= WINDOW:
            self._window, self._before, self._worst = now, self._worst, 0.0
        self._worst = max(self._worst, late)

    def _run(self):
        """The thread."""
        told = None                             # the mark of the blockage that was told
        sleep, beat = native_sleep, BEAT        # Python 2 takes globals away while it ends, and this one sleeps
        while True:
            before = monotonic()
            sleep(beat)
            if self._stopped:
                return
            now, mark = monotonic(), self._mark
            if told is not None and mark != told:
                self._say('the hub goes on, after %.1f s' % (mark - told))
                told = None
            # Who has overslept was stopped together with the hub: SIGSTOP, a suspended machine.
            overslept = now - before > 2 * BEAT
            if now - mark >= BLOCKED and told is None and not overslept:
                told = mark
                self.blocked += 1
                self._tell(now - mark)

    def _tell(self, seconds):
        frame = sys._current_frames().get(self._hub)
        self._say('the hub is blocked, and nobody is served, for %.1f s now, here (innermost first):\n  %s' % (
            seconds, '\n  '.join(stack(frame)) or 'nowhere in Python'))


def stack(frame):
    """Where a frame stands, and its callers, innermost first, as lines. Reads no file: a disk may be what blocks."""
    lines = []
    while frame is not None and len(lines) < DEPTH:
        code = frame.f_code
        lines.append('%s:%d in %s' % (_short(code.co_filename), frame.f_lineno, code.co_name))
        frame = frame.f_back
    return lines


def _short(path):
    """Return the last three parts of a path: they tell the wing and the module."""
    return os.sep.join(path.split(os.sep)[-3:])


def freeze():
    """Have the garbage collector leave alone all that there is now, and remember the greenlets among it: `stacks` does
    not find them by the collector any more."""
    _frozen.update(_greenlets())
    gc_freeze()


def _greenlets():
    # By type(), as isinstance() asks proxies, which may run anything.
    return [each for each in gc.get_objects() if issubclass(type(each), greenlet)]


def stacks():
    """What all greenlets wait for, as lines: each stack once, with how many wait there, the most common first."""
    # Not gevent.util.format_run_info: with thousands of connections it has as many stacks, nearly all the same.
    counts = collections.Counter()
    here = gevent.getcurrent()
    for each in set(_greenlets()).union(_frozen):
        if each is not here and not each.dead and each.gr_frame is not None:
            counts[tuple(stack(each.gr_frame))] += 1
    lines = []
    for frames, count in counts.most_common(MOST_STACKS):
        lines.append('%d greenlet%s:' % (count, '' if count == 1 else 's'))
        lines += ['  ' + line for line in frames]
    if len(counts) > MOST_STACKS:
        lines.append('and %d stacks more' % (len(counts) - MOST_STACKS))
    return lines

"""Reports a blocked event loop while it is blocked, measures its lag, and shows what all greenlets wait for.

A timer of the event loop leaves a mark every quarter of a second. A native thread, which runs when the loop does not,
looks at the mark. Nothing here is called for a connection or a request. There is one event loop (gevent's hub) in a
process.
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
BLOCKED = 1.0           # seconds without a mark that are reported
WINDOW = 60.0           # seconds; the lag is the worst of this window and the one before
DEPTH = 25              # frames of a stack that are shown, the innermost ones
MOST_STACKS = 100       # different stacks that are shown

_frozen = weakref.WeakSet()     # greenlets


class Watchdog(object):
    """The watchdog of a process."""

    def __init__(self, say):
        """Do not watch yet; see `start`. `say`: a function that logs native text; the thread calls it, too."""
        self.blocked = 0                        # how often the loop was blocked
        self._report = say
        self._worst, self._before = 0.0, 0.0    # seconds of lag, in this window and the last
        self._window = self._mark = 0.0         # in monotonic seconds
        self._timer = None
        self._stopped = True
        self._loop_thread = None                # the id of the native thread that the loop runs in

    def start(self):
        """Begin to watch the event loop of this thread."""
        self._loop_thread, self._stopped = native_ident(), False
        self._window = self._mark = monotonic()
        self._timer = gevent.get_hub().loop.timer(BEAT, BEAT, ref=False)
        self._timer.start(self._beat)
        start_native_thread(supervise.keep_running, ('the watchdog', self._run, self._report, native_sleep))

    def stop(self):
        """Stop watching. The thread ends a moment later."""
        self._stopped = True
        self._timer.stop()

    @property
    def lag(self):
        """The longest delay of the event loop, in seconds, within the last one or two minutes."""
        return max(self._worst, self._before)

    def _beat(self):
        """The timer: called by the event loop."""
        now = monotonic()
        late = now - self._mark - BEAT
        self._mark = now
        if now - self._window >= WINDOW:
            self._window, self._before, self._worst = now, self._worst, 0.0
        self._worst = max(self._worst, late)

    def _run(self):
        """The thread."""
        told = None                             # the mark before the blockage that was reported
        sleep, beat = native_sleep, BEAT        # while Python 2 ends, a sleeping thread loses its globals
        while True:
            before = monotonic()
            sleep(beat)
            if self._stopped:
                return
            now, mark = monotonic(), self._mark
            if told is not None and mark != told:
                self._report('event loop running again after %.1f s' % (mark - told))
                told = None
            # If this thread has overslept, the whole process was stopped: SIGSTOP, a suspended machine.
            overslept = now - before > 2 * BEAT
            if now - mark >= BLOCKED and told is None and not overslept:
                told = mark
                self.blocked += 1
                self._tell(now - mark)

    def _tell(self, seconds):
        frame = sys._current_frames().get(self._loop_thread)
        self._report('event loop blocked for %.1f s, no client is served; it is here (innermost call first):\n  %s' % (
            seconds, '\n  '.join(stack(frame)) or 'nowhere in Python'))


def stack(frame):
    """Return the calls of a stack as lines, innermost first. Reads no file: a disk may be what blocks.

    `frame`: the innermost frame, or None.
    """
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
    """Take all objects that exist now out of garbage collection, which saves its time.

    The greenlets among them are remembered: `stacks` does not find them through the collector any more.
    """
    _frozen.update(_greenlets())
    gc_freeze()


def _greenlets():
    # By type(): isinstance() asks an object for its __class__, and may run any code.
    return [each for each in gc.get_objects() if issubclass(type(each), greenlet)]


def stacks():
    """Return what all greenlets wait for, as lines: each stack once, with how many wait there, most common first."""
    # gevent.util.format_run_info would show thousands of stacks for thousands of connections, nearly all the same.
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
        lines.append('and %d more stacks' % (len(counts) - MOST_STACKS))
    return lines

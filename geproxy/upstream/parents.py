"""Remembers which parents (other proxies on the way) can be used. One that cannot be reached is left out for a while.

A parent that refuses connections, or does not accept one in time, is left out at once. One that accepts a connection
and then closes it, says nothing, or talks nonsense is doubtful: the cause may be the origin of that one request. It is
left out when that happens DOUBTS times in a row, one after the other. Connects to nothing itself.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy.compat import monotonic

LEFT_OUT = 30.0         # seconds
DOUBTS = 3              # connections in a row that get no answer from a parent before it is left out

# A parent for people. `name`: its URL, native text without secrets; `up`: False while it is left out; `since`: when
# that changed last, in monotonic seconds, or None if it never did; `why`: native text, the last failure, '' if there
# was none; `failures`: how many there were; `again`: when a request that needs one that is left out tries it, in
# monotonic seconds.
View = collections.namedtuple('View', 'name up since why failures again')


class _State(object):
    """What is known of one parent. `name`, `up`, `since`, `why`, `failures`, `again`: as of a View; `doubts`: failures
    in a row; `doubted`: when the last one was; `on_trial`: True while one request tries it again."""
    __slots__ = ('name', 'up', 'since', 'why', 'again', 'doubts', 'doubted', 'failures', 'on_trial')

    def __init__(self, name):
        self.name, self.up, self.since, self.why = name, True, None, ''
        self.again = self.doubted = 0.0
        self.doubts = self.failures = 0
        self.on_trial = False


class States(object):
    """The states of all parents that routes name. There is one object for the process; it outlives reloads."""

    def __init__(self, say):
        """`say`: log.Log.say, for one line when a parent goes or comes back."""
        self._say = say
        self._states = collections.OrderedDict()        # {(scheme, host, port): _State}
        self._troubled = set()                          # the keys of those that have failed, and not worked since

    def use(self, parents):
        """Know these parents from now on, and forget all others. `parents`: {routes.Parent: its name for people}."""
        old, self._states = self._states, collections.OrderedDict()
        for parent, name in parents.items():
            self._states[parent[:3]] = old.get(parent[:3]) or _State(name)
        self._troubled.intersection_update(self._states)

    def order(self, routes):
        """Return those of `routes`, a tuple of routes.Routes, that may be tried, as an iterable in their order.

        Take them one by one, as they are tried. Routes through a parent that is left out are missing. After LEFT_OUT
        seconds the first caller that gets so far gets it again, and all others do not until that one reports that it
        worked. If all routes would be missing, all are given: to try is better than to fail for sure.
        """
        return self._usable(routes) if self._troubled else routes

    def _usable(self, routes):
        usable = 0
        for route in routes:
            if self._is_usable(route):
                usable += 1
                yield route
        if not usable:
            for route in routes:
                yield route

    def _is_usable(self, route):
        for parent in route.parents:
            state = self._of(parent)
            if state is not None and not state.up:
                now = monotonic()
                if state.again > now:
                    return False
                # This request tries it; another one will if it never says how it went.
                state.again, state.on_trial = now + LEFT_OUT, True
        return True

    def failed(self, parent, why, began=None):
        """Note that a parent could not be used.

        `parent`: the routes.Parent; `why`: native text; `began`: when the request began to use it, in monotonic
        seconds, if it accepted the connection, so that something else may be the cause; else None. Of requests at the
        same time only one counts: a browser asks a dead host by several connections at once.
        """
        state = self._of(parent)
        if state is None:
            return                              # a reload has removed it
        now = monotonic()
        self._troubled.add(parent[:3])
        if began is None or began >= state.doubted:
            state.doubts, state.doubted = state.doubts + 1, now
        state.why, state.failures, state.on_trial = why, state.failures + 1, False
        if not state.up:
            state.again = now + LEFT_OUT
        elif began is None or state.doubts >= DOUBTS:
            state.up, state.since, state.again = False, now, now + LEFT_OUT
            self._say('parent %s is left out for %.3g s: %s' % (state.name, LEFT_OUT, why))

    def worked(self, parent):
        """Note that a parent has answered. `parent`: the routes.Parent."""
        if not self._troubled:
            return
        state = self._of(parent)
        if state is None:
            return
        self._troubled.discard(parent[:3])
        state.doubts = 0
        if not state.up:
            now = monotonic()
            self._say('parent %s is used again, after %.0f s' % (state.name, now - state.since))
            state.up, state.since = True, now

    def untried(self, parent):
        """Note that a request that `order` gave a parent to has not asked it, so that another one may try it.

        `parent`: the routes.Parent.
        """
        state = self._troubled and self._of(parent)
        # If all routes are left out, requests get them that are no trial: those change nothing.
        if state and not state.up and state.on_trial:
            state.again, state.on_trial = 0.0, False

    def view(self):
        """Return a View of each parent, as a list in the order of the routes."""
        return [View(state.name, state.up, state.since, state.why, state.failures, state.again)
                for state in self._states.values()]

    def _of(self, parent):
        return self._states.get(parent[:3])

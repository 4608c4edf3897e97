"""Makes sure that a process runs only one event loop of geproxy.

gevent has one hub, which runs an event loop, for each native thread that asks for one. Several modules keep the state
of the process in plain variables: the deadlines, the turns, the idle workers, the scratch buffer, the memory budget.
With a second hub, greenlets of two threads would change them at the same time, and one hub would wake greenlets of the
other. More cores need more processes.
"""
from __future__ import absolute_import, division, print_function

from gevent import get_hub

_hub = []               # the hub of this process, once it is known


def claim():
    """Make the hub of this native thread the one of the process. It costs nothing to call it again.

    Raises RuntimeError if another thread was first.
    """
    hub = get_hub()
    if not _hub:
        _hub.append(hub)
    if _hub[0] is not hub:
        raise RuntimeError('geproxy runs one event loop in each process, and another thread runs it already: start '
                           'another process instead')

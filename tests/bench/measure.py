"""Read the processor time and memory of processes from /proc, and sum up several rounds. Starts nothing."""
from __future__ import absolute_import, division, print_function

import os
import timeit

TICKS = os.sysconf('SC_CLK_TCK')    # of processor time, in a second
clock = timeit.default_timer        # seconds; monotonic on Python 3


# --- processes -------------------------------------------------------------------------------------------------------

def _stat(pid):
    """Return the fields of /proc/PID/stat from the third (state) on; None if there is no such process."""
    try:
        with open('/proc/%d/stat' % pid) as opened:
            return opened.read().rpartition(')')[2].split()
    except (IOError, OSError):
        return None


def tree(pid):
    """Return the ids of a process and of all its descendants now. `pid`: an int."""
    children = {}
    for name in os.listdir('/proc'):
        fields = _stat(int(name)) if name.isdigit() else None
        if fields:
            children.setdefault(int(fields[1]), []).append(int(name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, ()))
    return found


def cpu(pid):
    """Return (user, system) seconds used so far by a process, its descendants, and its children that have ended."""
    user = system = 0
    for member in tree(pid):
        fields = _stat(member)
        if fields:
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
    return user / TICKS, system / TICKS


def memory(pid):
    """Return octets of memory of a process and its descendants. Shared pages count in part (PSS)."""
    total = 0
    for member in tree(pid):
        try:
            with open('/proc/%d/smaps_rollup' % member) as opened:
                total += sum(int(line.split()[1]) * 1024 for line in opened if line.startswith('Pss:'))
        except (IOError, OSError):
            pass                            # it has just ended
    return total


class Meter(object):
    """Measures the processor time of processes from now on. `pids`: a list of ints."""

    def __init__(self, pids):
        self._pids = pids
        self._began = [cpu(pid) for pid in pids]

    def each(self):
        """Return [(user, system)] seconds since the start, one for each pid with its descendants."""
        return [(now[0] - then[0], now[1] - then[1])
                for now, then in zip([cpu(pid) for pid in self._pids], self._began)]

    def read(self):
        """Return (user, system) seconds since the start, of all together."""
        spent = self.each()
        return sum(user for user, _ in spent), sum(system for _, system in spent)


# --- numbers ---------------------------------------------------------------------------------------------------------

def median(values):
    """Return the median: the middle value, or the mean of the middle two."""
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def percentile(values, part):
    """Return the smallest of `values` such that at least `part` (0 to 1) of them are not larger."""
    values = sorted(values)
    return values[min(len(values) - 1, max(0, -int(-part * len(values) // 1) - 1))]


def spread(values):
    """Return half the distance between the smallest and the largest value, divided by the median."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / abs(middle) if middle else 0.0


def show(value):
    """Return a number as text with about three digits; '-' for None."""
    if value is None:
        return '-'
    size = abs(value)
    return '%.0f' % value if size >= 100 else '%.1f' % value if size >= 10 else '%.2f' % value

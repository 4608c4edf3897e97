"""What processes have cost, as Linux counts it, and numbers made of several rounds. Starts nothing."""
from __future__ import absolute_import, division, print_function

import os
import timeit

TICKS = os.sysconf('SC_CLK_TCK')    # of processor time, in a second
clock = timeit.default_timer        # seconds; monotonic on Python 3


# --- processes -------------------------------------------------------------------------------------------------------

def _stat(pid):
    """The fields of /proc/PID/stat from the third (state) on; None if there is no such process."""
    try:
        with open('/proc/%d/stat' % pid) as opened:
            return opened.read().rpartition(')')[2].split()
    except (IOError, OSError):
        return None


def tree(pid):
    """The process and all its descendants, as they are now."""
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
    """(user, system) seconds that a process, its living descendants and its reaped children have used so far."""
    user = system = 0
    for member in tree(pid):
        fields = _stat(member)
        if fields:
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
    return user / TICKS, system / TICKS


def memory(pid):
    """Octets that a process and its descendants have in memory; what they share with others in proportion (PSS)."""
    total = 0
    for member in tree(pid):
        try:
            with open('/proc/%d/smaps_rollup' % member) as opened:
                total += sum(int(line.split()[1]) * 1024 for line in opened if line.startswith('Pss:'))
        except (IOError, OSError):
            pass                            # it has just ended
    return total


class Meter(object):
    """Processor time of some processes, from now on."""

    def __init__(self, pids):
        self._pids = pids
        self._began = [cpu(pid) for pid in pids]

    def each(self):
        """[(user, system)] seconds since the start, for each process tree."""
        return [(now[0] - then[0], now[1] - then[1])
                for now, then in zip([cpu(pid) for pid in self._pids], self._began)]

    def read(self):
        """(user, system) seconds since the start, in all."""
        spent = self.each()
        return sum(user for user, _ in spent), sum(system for _, system in spent)


# --- numbers ---------------------------------------------------------------------------------------------------------

def median(values):
    """The middle one, or the mean of the middle two."""
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def percentile(values, part):
    """The smallest of `values` that at least `part` (0 to 1) of them do not exceed."""
    values = sorted(values)
    return values[min(len(values) - 1, max(0, -int(-part * len(values) // 1) - 1))]


def spread(values):
    """Half the distance of the extremes, as a part of the median."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / abs(middle) if middle else 0.0


def show(value):
    """Three digits, as people read them."""
    if value is None:
        return '-'
    size = abs(value)
    return '%.0f' % value if size >= 100 else '%.1f' % value if size >= 10 else '%.2f' % value

"""Check the results of a soak: the access log and the clients must agree, and nothing may have grown.

For each exchange there are two reports: one of its client, one in the log. When both are there, they are compared and
forgotten, so that a run of hours needs no memory. A report that is left at the end has no partner.
"""
from __future__ import absolute_import, division, print_function

import collections
import json
import os

MOST_PROBLEMS = 20          # problems that are shown at most
# How an exchange ended for its client. good: as expected. failed: not as expected. raced: it was sent on a kept connection
# while the proxy closed that, and no octet of an answer came. cut: at the end of a drain. left: the client closed the
# connection in the middle, on purpose.
GOOD, FAILED, RACED, CUT, LEFT = OUTCOMES = ('good', 'failed', 'raced', 'cut', 'left')
# How much higher a figure may be at the end: some things are kept for the next exchange, and are no leak. Five runs of one
# to three minutes on 2.7 and 3.13 ended 0, 1 and 1.1 higher (2026): most of that is there after the warm-up.
ROOM = {'fds': 8,               # four pipes for splicing, if there are more flows at once than in the warm-up
        'greenlets': 4,         # idle workers end a few at a time
        'MiB': 4}               # fragmented memory; see --memory

# The report of a client. `sent`, `received`: octets that it has counted; `why`: of a failure, native text.
Told = collections.namedtuple('Told', 'kind outcome status sent received why')


class Books(object):
    """The reports of clients and log, and the problems found in them."""

    def __init__(self):
        self.counts = collections.Counter()         # {(kind, outcome): exchanges}
        self.octets = collections.Counter()         # {'up', 'down'} of good ones, as clients counted them
        self.logged = collections.Counter()         # {'lines', 'up', 'down'} of all lines
        self.agreed = self.drained = 0
        self.problems, self.more = [], 0
        self._told, self._lines = {}, {}

    def problem(self, text):
        """Note a problem. `text`: native text."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(text)
        else:
            self.more += 1

    def tell(self, key, told):
        """Take the report of a client. `key`: finds its line in the log, see `key_of`; `told`: a Told."""
        self.counts[told.kind, told.outcome] += 1
        if told.outcome == FAILED:
            self.problem('%s %s failed: %s' % (told.kind, key, told.why))
        if told.outcome == GOOD:
            self.octets['up'] += told.sent
            self.octets['down'] += told.received
        if key in self._told:
            self.problem('%s %s: reported twice, a bug of the load' % (told.kind, key))
        self._told[key] = told
        self._settle(key)

    def log(self, line):
        """Take a line of the access log. `line`: octets."""
        try:
            entry = json.loads(line.decode('ascii'))
            key = key_of(entry)
        except (ValueError, KeyError):
            self.problem('not a line of an access log: %r' % line[:200])
            return
        self.logged['lines'] += 1
        self.logged['up'] += entry['http.request.bytes']
        self.logged['down'] += entry['http.response.bytes']
        self.drained += entry.get('reason') == 'drained'
        if key in self._lines:
            self.problem('%s: logged twice' % key)
        self._lines[key] = entry
        self._settle(key)

    def _settle(self, key):
        if key in self._told and key in self._lines:
            self.agreed += 1
            for text in differences(self._told.pop(key), self._lines.pop(key)):
                self.problem('%s: %s' % (key, text))

    def open(self):
        """Return how many reports have no partner yet, and should have one."""
        return len(self._lines) + sum(told.outcome not in (RACED, FAILED) for told in self._told.values())

    def close(self):
        """Note each report without partner as a problem. No more reports may come."""
        for key, told in sorted(self._told.items()):
            if told.outcome not in (RACED, FAILED):     # the latter are problems already
                self.problem('%s %s (%s): not in the log' % (told.kind, key, told.outcome))
        for key in sorted(self._lines):
            self.problem('%s: in the log, but no client sent it' % key)

    def of(self, outcome):
        """Return how many exchanges had this outcome."""
        return sum(count for (_kind, each), count in self.counts.items() if each == outcome)


def key_of(entry):
    """Return the key of a log entry: the last part of the path or, without a path, the address of the client.

    `entry`: a line of the log as a dictionary. Both keys are unique among all exchanges.
    """
    url = entry.get('url.original', '')
    return url.rpartition('/')[2] if url.startswith('http://') else entry['client.ip']


def differences(told, entry):
    """Return the differences between a Told and an entry of the log, as texts."""
    found = []
    up, down = entry['http.request.bytes'], entry['http.response.bytes']
    if told.outcome == GOOD:
        if (up, down) != (told.sent, told.received):
            found.append('%s: %d octets up and %d down in the log, %d and %d by the client' % (
                told.kind, up, down, told.sent, told.received))
        if entry['http.response.status_code'] != told.status:
            found.append('%s: status %s in the log, %s for the client' % (
                told.kind, entry['http.response.status_code'], told.status))
    elif told.outcome == CUT:
        if entry.get('reason') != 'drained':
            found.append('%s: ended in the middle, but the log has the reason %s: %s' % (
                told.kind, entry.get('reason'), entry.get('message')))
    elif told.outcome == LEFT and (up > told.sent or down < told.received):
        found.append('%s: %d octets up and %d down in the log, %d sent and %d received' % (
            told.kind, up, down, told.sent, told.received))
    return found


class LogFiles(object):
    """Follows the access log through its rotations. `path`: of the log; `take`: a function that gets each line once."""

    def __init__(self, path, take):
        self._path, self._take = path, take
        self._open = []                 # [[path, octets read, the beginning of a line]], the oldest first
        self._rotations = 0
        self._open.append([path, 0, b''])

    def rotate(self):
        """Rename the log, as logrotate does before it sends SIGUSR1."""
        self._rotations += 1
        aside = '%s.%d' % (self._path, self._rotations)
        os.rename(self._path, aside)
        self._open[-1][0] = aside
        self._open.append([self._path, 0, b''])

    def read(self):
        """Read the new lines."""
        for state in self._open:
            if os.path.exists(state[0]):
                with open(state[0], 'rb') as opened:
                    opened.seek(state[1])
                    data = opened.read()
                state[1] += len(data)
                lines = (state[2] + data).split(b'\n')
                state[2] = lines.pop()
                for line in lines:
                    self._take(line)
        while len(self._open) > 3:      # nothing is written there any more
            os.remove(self._open.pop(0)[0])


def compare(books, before, after, room=ROOM):
    """Compare the figures of the processes before and after the load. Return [(figure, before, after)].

    A figure that has grown by more than `room` says, or does not agree with the log, becomes a problem in `books`.
    """
    rows = []
    for name in ('fds', 'greenlets', 'MiB'):
        old, new = before[name], after[name]
        rows.append((name, old, new))
        if new > old + room[name] * len(after['pids']):
            books.problem('%s grew from %.4g to %.4g' % (name, old, new))
    if before['pids'] != after['pids']:
        return rows                     # new processes have begun to count from zero
    for name, column in (('requests', 'lines'), ('octets up', 'up'), ('octets down', 'down')):
        counted = after[name] - before[name]
        written = after['logged'][column] - before['logged'][column]
        rows.append((name + ' counted, logged', counted, written))
        if counted != written:
            books.problem('%s: /metrics has counted %d, and the log has %d' % (name, counted, written))
    return rows

"""What must hold at the end of a soak: the access log and the clients tell the same story, and nothing has grown.

Books are kept in pairs: what a client says of an exchange, and what its line in the log says. A pair that agrees is
struck out at once, so that hours of it need no memory; what is left at the end has no other half.
"""
from __future__ import absolute_import, division, print_function

import collections
import json
import os

MOST_PROBLEMS = 20          # that are shown
# How the exchange ended for its client. failed: it had a right to succeed, and has not. raced: sent on a kept
# connection while that was closed from the other end, and nothing of an answer came. cut: by the end of the drain.
# left: the client went away in the middle, on purpose.
GOOD, FAILED, RACED, CUT, LEFT = OUTCOMES = ('good', 'failed', 'raced', 'cut', 'left')
# By how much a figure may differ at the end: what is kept for the next one, not what leaks. Five runs of one to three
# minutes on 2.7 and 3.13 had 0, 1 and 1.1 more (2026): the warm-up has most of what will ever be kept.
ROOM = {'fds': 8,               # four pipes for splicing, if more flows meet than during the warm-up
        'greenlets': 4,         # workers with nothing to do go away a few at a time
        'MiB': 4}               # memory in pieces; see --memory

# `sent`, `received`: octets, as the client counted them.
Told = collections.namedtuple('Told', 'kind outcome status sent received why')


class Books(object):
    """What clients told and what the log says."""

    def __init__(self):
        self.counts = collections.Counter()         # {(kind, outcome): exchanges}
        self.octets = collections.Counter()         # {'up', 'down'} of good ones, as clients counted them
        self.logged = collections.Counter()         # {'lines', 'up', 'down'} of all lines
        self.agreed = self.drained = 0
        self.problems, self.more = [], 0
        self._told, self._lines = {}, {}

    def problem(self, text):
        """Something is wrong."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(text)
        else:
            self.more += 1

    def tell(self, key, told):
        """A client's story of an exchange. `key`: by which its line is found; see `key_of`."""
        self.counts[told.kind, told.outcome] += 1
        if told.outcome == FAILED:
            self.problem('%s %s failed: %s' % (told.kind, key, told.why))
        if told.outcome == GOOD:
            self.octets['up'] += told.sent
            self.octets['down'] += told.received
        if key in self._told:
            self.problem('%s %s: told twice, a bug of the load' % (told.kind, key))
        self._told[key] = told
        self._settle(key)

    def log(self, line):
        """A line of the access log, in octets."""
        try:
            entry = json.loads(line.decode('ascii'))
            key = key_of(entry)
        except (ValueError, KeyError):
            self.problem('no line of an access log: %r' % line[:200])
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
        """How many have no other half yet, and should."""
        return len(self._lines) + sum(told.outcome not in (RACED, FAILED) for told in self._told.values())

    def close(self):
        """No more will come: what has no other half is a problem."""
        for key, told in sorted(self._told.items()):
            if told.outcome not in (RACED, FAILED):     # the latter are problems already
                self.problem('%s %s (%s): not in the log' % (told.kind, key, told.outcome))
        for key in sorted(self._lines):
            self.problem('%s: in the log, once more than asked for' % key)

    def of(self, outcome):
        """How many exchanges ended so."""
        return sum(count for (_kind, each), count in self.counts.items() if each == outcome)


def key_of(entry):
    """The name at the end of the path; the client's address, unique then, for what has no path."""
    url = entry.get('url.original', '')
    return url.rpartition('/')[2] if url.startswith('http://') else entry['client.ip']


def differences(told, entry):
    """What a client says and the log does not, as texts."""
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
            found.append('%s: ended in the middle, and the log says %s: %s' % (
                told.kind, entry.get('reason'), entry.get('message')))
    elif told.outcome == LEFT and (up > told.sent or down < told.received):
        found.append('%s: %d octets up and %d down in the log, %d sent and %d received' % (
            told.kind, up, down, told.sent, told.received))
    return found


class LogFiles(object):
    """Follows the access log through its rotations, and hands each line to `take` once."""

    def __init__(self, path, take):
        self._path, self._take = path, take
        self._open = []                 # [[path, octets read, the beginning of a line]], the oldest first
        self._rotations = 0
        self._open.append([path, 0, b''])

    def rotate(self):
        """What logrotate does before it sends USR1."""
        self._rotations += 1
        aside = '%s.%d' % (self._path, self._rotations)
        os.rename(self._path, aside)
        self._open[-1][0] = aside
        self._open.append([self._path, 0, b''])

    def read(self):
        """Read what is new."""
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
        while len(self._open) > 3:      # nobody has written there since the last but one
            os.remove(self._open.pop(0)[0])


def compare(books, before, after, room=ROOM):
    """Two snapshots of the processes, in quiet times: what grew -> [(figure, before, after)]; adds to the problems of
    `books` what should not have."""
    rows = []
    for name in ('fds', 'greenlets', 'MiB'):
        old, new = before[name], after[name]
        rows.append((name, old, new))
        if new > old + room[name] * len(after['pids']):
            books.problem('%s grew from %.4g to %.4g' % (name, old, new))
    if before['pids'] != after['pids']:
        return rows                     # counters began anew with each process
    for name, column in (('requests', 'lines'), ('octets up', 'up'), ('octets down', 'down')):
        counted = after[name] - before[name]
        written = after['logged'][column] - before['logged'][column]
        rows.append((name + ' counted, logged', counted, written))
        if counted != written:
            books.problem('%s: /metrics has counted %d, and the log has %d' % (name, counted, written))
    return rows

"""Connections of strangers: told why they are refused, under a cap of their own, closed within seconds, and counted.

A stranger is a peer that is not among the clients of its section of the ini file. Its connection takes no place among
those of the clients. The error log gets a line about all of them together, now and then: a line for each would be the
next way to do harm.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange import dialects
from geproxy.http1 import protocols
from geproxy.net.deadlines import TimeLimit
from geproxy.observe.record import Record

MOST = 32               # strangers that are told at once; more are closed without a word
EACH = 4                # the same, of one client
HEAD = TimeLimit('head', 1.0, errors.HeadTimeout)       # for the first octets, which say what language the answer has
GLANCE = 0.25           # seconds, the same for a client that finds no room
LINGER = 1.0            # seconds for the stranger to read the answer, and to hang up
PAUSE = 60.0            # seconds between two lines about strangers in the error log
NAMED = 10              # clients that such a line names
COUNTED = 1000          # clients that are counted each for itself between two lines
METHOD_SIZE = 32        # octets
# What a stranger got: the reason; nothing, as it left or broke the connection; nothing, as there were too many.
ANSWERS = ('told', 'left', 'dropped')


class Strangers(object):
    """Those of one section of the ini file."""

    def __init__(self, section):
        """`section`: its name, native text, for the error log."""
        self.counts = dict.fromkeys(ANSWERS, 0)     # connections, in all
        self._section = section
        self._telling = collections.Counter()       # {client: connections that are told just now}
        self._id = Record('').id                    # the request id of all that are told until the next line
        self._said = None                           # when the last line was, in monotonic seconds
        self._forget()

    def _forget(self):
        self._clients, self._more = collections.Counter(), 0
        self._dropped = self.counts['dropped']

    def turn_away(self, stream, client, refuse):
        """Refuse one connection, and close it. Waits for two or three seconds at most.

        `stream`: its Stream; `client`: whom to count, native text; `refuse`: called with the octets that have come and
        a request id, returns the octets of the answer.
        """
        answer = 'dropped'
        try:
            if sum(self._telling.values()) < MOST and self._telling[client] < EACH:
                answer = self._tell(stream, client, refuse)
        except (errors.ClientLost, errors.HeadTimeout):
            answer = 'left'
        finally:
            stream.close()
            self.counts[answer] += 1
            if answer != 'left':                    # a monitor may look every second whether the port is open
                self._remember(client)

    def _tell(self, stream, client, refuse):
        self._telling[client] += 1
        try:
            hear(stream, HEAD.seconds)
            if stream.ended and not stream.buffer:
                return 'left'
            stream.send(refuse(stream.buffer, self._id), HEAD)
            if stream.received:
                stream.linger(LINGER)               # unread octets would turn the end into a reset
            return 'told'
        finally:
            self._telling[client] -= 1
            if not self._telling[client]:
                del self._telling[client]

    def _remember(self, client):
        if client in self._clients or len(self._clients) < COUNTED:
            self._clients[client] += 1
        else:
            self._more += 1

    def report(self, now):
        """Return lines for the error log about those that came since the last line, if it is time for one. `now`:
        monotonic seconds."""
        if not self._clients or self._said is not None and now - self._said < PAUSE:
            return []
        first = self._clients.most_common(NAMED)
        shown = ['%s (%d)' % item for item in first]
        count = sum(self._clients.values()) + self._more
        others = count - sum(number for _client, number in first)
        if others:
            shown.append('others (%d)' % others)
        dropped = self.counts['dropped'] - self._dropped
        line = '%d connections refused, as these are not among [%s] clients: %s%s [%s]' % (
            count, self._section, ', '.join(shown), '; %d of them got no answer' % dropped if dropped else '', self._id)
        self._said, self._id = now, Record('').id
        self._forget()
        return [line]


def hear(stream, seconds):
    """Wait, no longer than `seconds`, for the first octets of a connection that is to be refused, and return the kind
    of their protocol: see protocols.kind_of. A client that says nothing is taken for one of HTTP/1."""
    deadline = monotonic() + seconds
    try:
        while not stream.ended and (not stream.buffer or protocols.undecided(stream.buffer)):
            stream.wait(HEAD, deadline)
            stream.fill()
    except (errors.ClientLost, errors.HeadTimeout):
        pass
    return protocols.kind_of(stream.buffer)


def refusal(error, name, octets, record_id):
    """Return the octets that tell a stranger, in its own protocol, why it is refused.

    `error`: the ProxyError; `name`: of this proxy, native text; `octets`: what has come; `record_id`: the request id.
    """
    error.kind = protocols.kind_of(octets)
    return dialects.HTTP.refusal(error, name, record_id, octets[:METHOD_SIZE].partition(b' ')[0], True)

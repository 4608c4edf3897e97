"""Refuse the connections of strangers: tell them why, close them within seconds, and count them.

A stranger is a peer that is not among the clients of its section of the ini file. Strangers have a limit of their own:
they never take the place of a client. The error log gets one line about many of them, at most once a minute: with a
line for each, a stranger could fill the disk.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange import dialects
from geproxy.http1 import protocols
from geproxy.net.deadlines import TimeLimit
from geproxy.observe.record import Record

MOST = 32               # strangers that are answered at the same time; others are closed without an answer
EACH = 4                # the same for one address
HEAD = TimeLimit('head', 1.0, errors.HeadTimeout)       # for the first octets, which show the protocol of the stranger
BRIEF_WAIT = 0.25       # seconds, the same for a client for which there is no room
LINGER = 1.0            # seconds for the stranger to read the answer, and to end the connection
PAUSE = 60.0            # seconds between two lines about strangers in the error log
NAMED = 10              # addresses that such a line names
COUNTED = 1000          # addresses that are counted one by one between two lines
METHOD_SIZE = 32        # octets that are enough to find a method
# How a stranger was treated. told: it got the reason; left: it ended the connection first; dropped: too many came.
ANSWERS = ('told', 'left', 'dropped')


class Strangers(object):
    """The strangers of one section of the ini file."""

    def __init__(self, section):
        """Begin to count. `section`: the name of the section, native text, for the error log."""
        self.counts = dict.fromkeys(ANSWERS, 0)     # connections since the start
        self._section = section
        self._telling = collections.Counter()       # {client: its connections that are being answered}
        self._id = Record('').id                    # the request id of all answers until the next line in the log
        self._said = None                           # when the last line was logged, in monotonic seconds
        self._forget()

    def _forget(self):
        self._clients, self._more = collections.Counter(), 0
        self._dropped = self.counts['dropped']

    def turn_away(self, stream, client, refuse):
        """Refuse one connection, and close it. May wait, for three seconds at most.

        `stream`: its Stream; `client`: its key, native text, see rates.key_of; `refuse`: a function of (octets that
        have come, request id as native text) that returns the octets of the answer.
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
            detect_protocol(stream, HEAD.seconds)
            if stream.ended and not stream.buffer:
                return 'left'
            stream.send(refuse(stream.buffer, self._id), HEAD)
            if stream.received:
                stream.linger(LINGER)               # to close with unread octets would send a reset
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
        """Return the lines for the error log about all strangers since the last line; none if it is too early.

        `now`: monotonic seconds.
        """
        if not self._clients or self._said is not None and now - self._said < PAUSE:
            return []
        first = self._clients.most_common(NAMED)
        shown = ['%s (%d)' % item for item in first]
        count = sum(self._clients.values()) + self._more
        others = count - sum(number for _client, number in first)
        if others:
            shown.append('others (%d)' % others)
        dropped = self.counts['dropped'] - self._dropped
        line = '%d connections refused, because these are not in [%s] clients: %s%s [%s]' % (
            count, self._section, ', '.join(shown), '; %d of them got no answer' % dropped if dropped else '', self._id)
        self._said, self._id = now, Record('').id
        self._forget()
        return [line]


def detect_protocol(stream, seconds):
    """Return the protocol of a connection that is to be refused, as protocols.kind_of does. May wait.

    `stream`: its Stream; `seconds`: to wait at most. A client that sends nothing gets its answer in HTTP/1.
    """
    deadline = monotonic() + seconds
    try:
        while not stream.ended and (not stream.buffer or protocols.undecided(stream.buffer)):
            stream.wait(HEAD, deadline)
            stream.fill()
    except (errors.ClientLost, errors.HeadTimeout):
        pass
    return protocols.kind_of(stream.buffer)


def refusal(error, name, octets, record_id):
    """Return the refusal for a stranger, in the protocol that it speaks, as octets.

    `error`: the ProxyError; `name`: of this proxy, native text; `octets`: those that the stranger has sent;
    `record_id`: the request id, native text.
    """
    error.kind = protocols.kind_of(octets)
    return dialects.HTTP.refusal(error, name, record_id, octets[:METHOD_SIZE].partition(b' ')[0], True)

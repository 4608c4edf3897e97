"""Names to addresses: cached, asked for once however many want to know, bounded, with a deadline for each caller.

The look-ups are the host's own (getaddrinfo: hosts file, search list and all), in native threads of their own, as
many as it takes that names whose servers are dead do not keep the others waiting. Blocks only the caller.
"""
from __future__ import absolute_import, division, print_function

import collections
import socket

import gevent
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from geproxy import address, errors
from geproxy.compat import monotonic, native_getaddrinfo, to_native

THREADS = 64            # look-ups at once; gevent's own pool has 10, and ten slow names stall everyone
OVERSLEPT = 0.5         # seconds behind a deadline that show that this process was stopped, or had too much to do
CACHE_SIZE = 10000      # names; the least recently used goes

Answer = collections.namedtuple('Answer', 'addresses error expires')


def look_up(host):
    """What the system says: native text -> list of addresses as native text. Blocks; raises socket.gaierror."""
    # As octets, on Python 3 too: text would go through the idna codec, which fails in ways of its own.
    found = native_getaddrinfo(host.encode('ascii'), None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    return [sockaddr[0].partition('%')[0] for _family, _type, _proto, _name, sockaddr in found]


def interleave(addresses):
    """Alternate the families, starting with the first one's: [6, 6, 4] -> [6, 4, 6] (RFC 8305, 4); no duplicates."""
    first, second = [], []
    for text in addresses:
        family = first if not first or (':' in text) == (':' in first[0]) else second
        if text not in family:
            family.append(text)
    mixed = []
    for at in range(max(len(first), len(second))):
        mixed.extend(first[at:at + 1] + second[at:at + 1])
    return mixed


class Resolver(object):
    """One for the process."""

    def __init__(self, keep=60.0, keep_failed=5.0, ask=look_up):
        """`keep`, `keep_failed`: seconds that an answer, or a failure, is good for; `ask`: see `look_up`."""
        self.keep, self.keep_failed = keep, keep_failed
        self._ask = ask
        self._cache = collections.OrderedDict()         # {host: Answer}
        self._pending = {}                              # {host: AsyncResult of an Answer}
        self._pool = None
        self.asked = 0                                  # look-ups, in all

    def resolve(self, host, limit):
        """Octets of a host -> list of addresses as native text, in the order to try. May wait, for `limit`.

        Addresses are answered as they are. Raises DnsError, DnsTimeout.
        """
        name = to_native(host)
        if name == 'localhost.':
            name = 'localhost'          # never for name servers (RFC 6761, 6.3), of whom the dot makes it a question
        if address.is_ip(name):
            return [name]
        if any(not 0 < len(label) < 64 for label in name[:-1 if name[-1:] == '.' else None].split('.')):
            raise errors.DnsError("'%s' cannot be a name: a label of it is longer than 63" % name)
        answer = self._cached(name) or self._await(name, limit)
        if answer.error:
            raise errors.DnsError(answer.error)
        return answer.addresses

    @property
    def cached(self):
        """How many names are known."""
        return len(self._cache)

    @property
    def pending(self):
        """How many look-ups are under way."""
        return len(self._pending)

    def _cached(self, name):
        answer = self._cache.pop(name, None)
        if answer is None or answer.expires < monotonic():
            return None
        self._cache[name] = answer                      # the most recently used is last
        return answer

    def _await(self, name, limit):
        deadline = monotonic() + limit.seconds
        try:
            try:
                with gevent.Timeout(limit.seconds):
                    return self._ask_once(name).get()
            except gevent.Timeout:
                if monotonic() < deadline + OVERSLEPT:
                    raise
                # After SIGSTOP the threads need a moment to tell what came in time.
                with gevent.Timeout(OVERSLEPT):
                    return self._ask_once(name).get()
        except gevent.Timeout:
            raise limit.error("no answer about '%s' within %.3g s ([timeouts] %s)" % (name, limit.seconds, limit.name))

    def _ask_once(self, name):
        pending = self._pending.get(name)
        if pending is None:
            pending = self._pending[name] = AsyncResult()
            self.asked += 1
            try:
                if self._pool is None:
                    self._pool = ThreadPool(THREADS)
                # Waits for a free thread, if it must: the caller's deadline covers that.
                self._pool.spawn(self._answer, name).rawlink(lambda job: self._settle(name, pending, job.value))
            except BaseException:
                self._settle(name, pending, self._failed(name, 'all %d look-ups are busy' % THREADS, 0))
                raise
        return pending

    def _answer(self, name):
        """In a native thread: always returns an Answer."""
        try:
            found = interleave(self._ask(name))
            return Answer(found, None, monotonic() + self.keep)
        except (socket.error, UnicodeError, ValueError) as error:
            return self._failed(name, error.args[-1], self.keep_failed)

    def _failed(self, name, why, keep):
        return Answer([], "'%s' does not resolve: %s" % (name, why), monotonic() + keep)

    def _settle(self, name, pending, answer):
        if self._pending.get(name) is pending:
            del self._pending[name]
        self._cache[name] = answer
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        pending.set(answer)

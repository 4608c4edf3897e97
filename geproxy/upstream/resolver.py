"""Names to addresses: cached, asked for once however many want to know, bounded, with a deadline for each caller.

The look-ups are the host's own (getaddrinfo: hosts file, search list and all), in native threads of their own. A client
may have as many of them under way as threads are left free, so that names whose servers are dead keep nobody else
waiting. Blocks only the caller.
"""
from __future__ import absolute_import, division, print_function

import collections
import os
import socket

import gevent
from gevent.event import AsyncResult

from geproxy import errors
from geproxy.compat import monotonic, native_getaddrinfo, native_lock_error, to_native
from geproxy.net import address
from geproxy.net.background import Background

THREADS = 128           # look-ups at once; gevent's own pool has 10, and ten slow names stall everyone
HOSTS_THREADS = 4       # the same of names that are in the hosts file: they need no network, and never wait for it
HOSTS_FILE = '/etc/hosts'
HOSTS_SIZE = 64 * 1024  # octets; a larger file would take too long to read here, and its names wait as all others do
QUEUED_EACH = 100       # names of one client that wait for a thread
QUEUED = 5000           # the same of all; a client that has none waiting may always have one
MOST = 16               # addresses of a name; more are left out
OVERSLEPT = 0.5         # seconds behind a deadline that show that this process was stopped, or had too much to do
CACHE_SIZE = 10000      # names; the least recently used goes
RENEWED = 1.0           # seconds between two look-ups of a name that are made because all its addresses fail

# `asked`, `expires`, `renewed`: in monotonic seconds; the last is when its addresses last had all failed, or 0.
Answer = collections.namedtuple('Answer', 'addresses error asked expires renewed')


def look_up(host):
    """What the system says: native text -> list of addresses as native text. Blocks; raises socket.gaierror."""
    # As octets, on Python 3 too: text would go through the idna codec, which fails in ways of its own.
    found = native_getaddrinfo(host.encode('ascii'), None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    return [sockaddr[0].partition('%')[0] for _family, _type, _proto, _name, sockaddr in found]


def interleave(addresses):
    """Alternate the families, starting with the first one's: [6, 6, 4] -> [6, 4, 6] (RFC 8305, 4); no duplicates."""
    first, second, seen = [], [], set()
    for text in addresses:
        if text not in seen:
            seen.add(text)
            (first if not first or (':' in text) == (':' in first[0]) else second).append(text)
    mixed = []
    for at in range(max(len(first), len(second))):
        mixed.extend(first[at:at + 1] + second[at:at + 1])
    return mixed


def hosts_names(text):
    """The names in a hosts file, as a set, in lower case; `text`: of the file, native. See hosts(5)."""
    names = set()
    for line in text.splitlines():
        names.update(name.lower() for name in line.partition('#')[0].split()[1:])
    return names


class Hosts(object):
    """Which names are in the hosts file of today. Their addresses are the system's business."""

    def __init__(self, path):
        self._path = path
        self._seen = None           # what tells whether the file has changed
        self._names = frozenset()

    def __contains__(self, name):
        try:
            found = os.stat(self._path)
            seen = found.st_mtime, found.st_size, found.st_ino
            if seen != self._seen:
                self._seen, self._names = seen, frozenset()
                if found.st_size <= HOSTS_SIZE:
                    with open(self._path, 'rb') as opened:
                        self._names = hosts_names(to_native(opened.read(HOSTS_SIZE)))
        except (IOError, OSError):
            self._seen, self._names = None, frozenset()
        return name.lower() in self._names


class LookUp(object):
    """One question to the system, and how many wait for its answer."""
    __slots__ = ('name', 'answer', 'waiting', 'begun', 'client')

    def __init__(self, name):
        self.name = name
        self.answer = AsyncResult()
        self.waiting = collections.Counter()        # {client: how many of its requests}
        self.begun = False
        self.client = None                          # who it is counted for, once it has begun


class Threads(object):
    """Native threads, and the queues of those that wait for one: a queue for each client, served in turn."""

    def __init__(self, most, job, settle):
        """`most`: threads; `job`: a function of a name, called in one; `settle`: a function of (LookUp, its value),
        which is None if no thread can be started."""
        self._job, self._settle = job, settle
        self._queues = collections.OrderedDict()    # {client: OrderedDict of {name: LookUp}}; whose turn it is is first
        self._queued = 0
        self._busy = collections.Counter()          # {client: threads}
        self._free = most
        # Twice as many threads as are ever used: one that has just ended its job may still count, and a callback of the
        # hub cannot wait for it.
        self._threads = Background(2 * most)

    def join(self, asked, client):
        """Have one more request of a client wait for a LookUp, which begins now or when its turn comes. Raises DnsFull.
        """
        if not asked.begun and client not in asked.waiting:
            queue = self._queues.get(client, ())
            if len(queue) >= QUEUED_EACH or queue and self._queued >= QUEUED:
                raise errors.DnsFull('too many names wait to be looked up: %d of this client, %d of all' % (
                    len(queue), self._queued))
            self._queues.setdefault(client, collections.OrderedDict())[asked.name] = asked
            self._queued += 1
        asked.waiting[client] += 1
        self._begin()

    def leave(self, asked, client):
        """It does not wait any more; true if nobody waits for that, and it will not begin."""
        asked.waiting[client] -= 1
        if not asked.waiting[client]:
            del asked.waiting[client]
            if not asked.begun:
                self._unqueue(asked, client)
        return not asked.begun and not asked.waiting

    def _unqueue(self, asked, client):
        queue = self._queues[client]
        del queue[asked.name]
        self._queued -= 1
        if not queue:
            del self._queues[client]

    def _begin(self):
        """Begin what may begin: a client has no more threads than are left free."""
        skipped, most = 0, len(self._queues)
        while self._free and skipped < most and self._queues:
            client = next(iter(self._queues))
            queue = self._queues.pop(client)
            self._queues[client] = queue                # its next turn comes behind all others
            if self._busy[client] >= self._free:
                skipped += 1
                continue
            self._start(next(iter(queue.values())), client)

    def _start(self, asked, client):
        for each in asked.waiting:
            self._unqueue(asked, each)
        asked.begun, asked.client = True, client
        self._busy[client] += 1
        self._free -= 1
        try:
            self._threads.do(self._job, asked.name).rawlink(lambda result: self._end(asked, result.value[0]))
        except native_lock_error:
            self._release(asked)
            self._settle(asked, None)

    def _release(self, asked):
        self._busy[asked.client] -= 1
        if not self._busy[asked.client]:
            del self._busy[asked.client]
        self._free += 1

    def _end(self, asked, value):
        self._release(asked)
        self._settle(asked, value)
        self._begin()


class Resolver(object):
    """One for the process."""

    def __init__(self, keep=60.0, keep_failed=5.0, ask=look_up, hosts=HOSTS_FILE):
        """`keep`, `keep_failed`: seconds that an answer, or a failure, is good for; `ask`: see `look_up`; `hosts`: the
        path of the file whose names need no network."""
        self.keep, self.keep_failed = keep, keep_failed
        self._ask = ask
        self._hosts = Hosts(hosts)
        self._cache = collections.OrderedDict()         # {host: Answer}
        self._pending = {}                              # {host: (LookUp, the Threads that it is for)}
        self._network = Threads(THREADS, self._answer, self._settle)
        self._local = Threads(HOSTS_THREADS, self._answer, self._settle)
        self.asked = 0                                  # look-ups, in all

    def resolve(self, host, limit, client=''):
        """Octets of a host -> list of addresses as native text, in the order to try. May wait, for `limit`.

        Addresses are answered as they are. `client`: whose share of the threads it takes, see limits.key_of. Raises
        DnsError, DnsTimeout, DnsFull.
        """
        name = to_native(host)
        if name == 'localhost.':
            name = 'localhost'          # never for name servers (RFC 6761, 6.3), of whom the dot makes it a question
        if address.is_ip(name):
            return [name]
        if any(not 0 < len(label) < 64 for label in name[:-1 if name[-1:] == '.' else None].split('.')):
            raise errors.DnsError("'%s' cannot be a name: a label of it is longer than 63" % name)
        answer = self._cached(name) or self._await(name, limit, client)
        if answer.error:
            raise errors.DnsError(answer.error)
        return answer.addresses

    def renew(self, host, addresses, since, limit, client=''):
        """All `addresses` that `resolve` gave have failed -> those of today that are not among them. The name
        is asked for anew if that answer was there before `since` (monotonic seconds), and not for each request to a
        name whose new addresses fail, too. May wait; other arguments as of `resolve`."""
        name = to_native(host)
        old = self._cache.get(name)
        if old is None and name not in self._pending:
            return []                   # an address; or nothing is kept, so that the answer was no old one
        if old is not None and old.addresses is addresses:
            if old.asked >= since or old.renewed and old.renewed + RENEWED > monotonic():
                return []
            del self._cache[name]       # if another has done that, its look-up does for this one
        try:
            found = self.resolve(host, limit, client)
        except (errors.DnsError, errors.DnsTimeout, errors.DnsFull):
            found = addresses
            if old is not None and old.addresses is addresses:
                self._cache[name] = old         # better than nothing, for its time
        if name in self._cache:
            self._cache[name] = self._cache[name]._replace(renewed=monotonic())
        return [each for each in found if each not in addresses]

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

    def _await(self, name, limit, client):
        deadline = monotonic() + limit.seconds
        asked, threads = self._look_up(name)
        try:
            threads.join(asked, client)
        except errors.DnsFull:
            if not asked.waiting:
                del self._pending[name]
            raise
        try:
            try:
                with gevent.Timeout(limit.seconds):
                    return asked.answer.get()
            except gevent.Timeout:
                if monotonic() < deadline + OVERSLEPT:
                    raise
                # After SIGSTOP the threads need a moment to tell what came in time.
                with gevent.Timeout(OVERSLEPT):
                    return asked.answer.get()
        except gevent.Timeout:
            raise limit.error("no answer about '%s' within %.3g s ([timeouts] %s)" % (name, limit.seconds, limit.name))
        finally:
            if threads.leave(asked, client):
                del self._pending[name]

    def _look_up(self, name):
        """-> (the LookUp of that name, the Threads that it is for)."""
        if name not in self._pending:
            self.asked += 1
            self._pending[name] = LookUp(name), self._local if name in self._hosts else self._network
        return self._pending[name]

    def _answer(self, name):
        """In a native thread: always returns an Answer."""
        try:
            found = interleave(self._ask(name))[:MOST]
            return Answer(found, None, monotonic(), monotonic() + self.keep, 0)
        except (socket.error, UnicodeError, ValueError) as error:
            return self._failed(name, error.args[-1], self.keep_failed)

    def _failed(self, name, why, keep):
        return Answer([], "'%s' does not resolve: %s" % (name, why), monotonic(), monotonic() + keep, 0)

    def _settle(self, asked, answer):
        if answer is None:
            answer = self._failed(asked.name, 'no thread can be started', 0)
        if self._pending.get(asked.name, (None,))[0] is asked:
            del self._pending[asked.name]
        self._cache[asked.name] = answer
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        asked.answer.set(answer)

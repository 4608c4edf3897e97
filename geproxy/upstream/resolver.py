"""Looks up names. Keeps the answers in a cache, and looks up a name only once for all requests that wait for it.

The host does the look-ups (getaddrinfo uses its hosts file and search list), in native threads. The number of threads
is limited, and each caller has a deadline. A client may use as many threads as are left free. So one client whose name
servers do not answer does not delay the others. Only the greenlet of the caller waits.
"""
from __future__ import absolute_import, division, print_function

import collections
import os
import socket

import gevent
from gevent.event import AsyncResult

from geproxy import errors
from geproxy.compat import monotonic, native_getaddrinfo, native_lock_error, to_native
from geproxy.memo import ExpiringCache
from geproxy.net import address
from geproxy.net.background import Background

THREADS = 128           # look-ups at once; gevent's own pool has 10, and ten slow names would stall everyone
HOSTS_THREADS = 4       # look-ups at once of names in the hosts file: they need no network, and do not wait for it
HOSTS_FILE = '/etc/hosts'
HOSTS_SIZE = 64 * 1024  # octets; a larger file takes too long to read here, and its names are treated as all others
QUEUED_EACH = 100       # names of one client that wait for a thread
QUEUED = 5000           # names of all clients that wait; a client without a waiting name may always add one
MOST = 16               # addresses of a name; further ones are left out
OVERSLEPT = 0.5         # seconds; a time-out noticed later than this shows that the process was stopped, or busy
CACHE_SIZE = 10000      # names; the least recently used one is forgotten
RENEWED = 1.0           # seconds between two look-ups of a name that are made because all its addresses fail
EVER = float('-inf')     # a time before all others, at which no answer has expired

# `addresses`: native texts, in the order to try; `error`: native text, or None; `asked`, `expires`: monotonic seconds;
# `renewed`: when all its addresses had failed the last time, in monotonic seconds, or 0.
Answer = collections.namedtuple('Answer', 'addresses error asked expires renewed')


def look_up(host):
    """Return the addresses of a host, both native text, as the system gives them. Blocks. Raises socket.gaierror."""
    # As octets: text would go through the idna codec on Python 3, which raises other errors.
    found = native_getaddrinfo(host.encode('ascii'), None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    return [sockaddr[0].partition('%')[0] for _family, _type, _proto, _name, sockaddr in found]


def interleave(addresses):
    """Return addresses in an order in which IPv6 and IPv4 alternate, each address only once (RFC 8305, 4).

    `addresses`: native texts. The family of the first one stays first: two of IPv6 and one of IPv4 become 6, 4, 6.
    """
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
    """Return the set of names, in lower case, in the native text of a hosts file, see hosts(5)."""
    names = set()
    for line in text.splitlines():
        names.update(name.lower() for name in line.partition('#')[0].split()[1:])
    return names


class Hosts(object):
    """The names in the hosts file, which is read again when it has changed. Their addresses come from the system."""

    def __init__(self, path):
        """`path`: of the file, native text."""
        self._path = path
        self._seen = None           # (modification time, size, inode) of the file that was read
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
    """One look-up of a name, and the requests that wait for its answer."""
    __slots__ = ('name', 'answer', 'waiting', 'begun', 'client')

    def __init__(self, name):
        """`name`: native text."""
        self.name = name
        self.answer = AsyncResult()                 # the Answer, once it is there
        self.waiting = collections.Counter()        # {client: how many of its requests wait}
        self.begun = False                          # True once it has a thread
        self.client = None                          # the client whose thread it takes, once it has begun


class Threads(object):
    """Native threads, and a queue for each client with the look-ups that wait for a thread. The clients take turns."""

    def __init__(self, most, job, finish):
        """`most`: how many threads; `job`: a function of a name, called in a thread; `finish`: a function of (LookUp,
        what the job returned, or None if no thread could be started), called by the hub."""
        self._job, self._finish = job, finish
        self._queues = collections.OrderedDict()    # {client: OrderedDict of {name: LookUp}}, the next turn first
        self._queued = 0
        self._busy = collections.Counter()          # {client: threads}
        self._free = most
        # Twice as many threads as are ever used: one that has just ended its job may still count, and a callback of the
        # hub cannot wait for it.
        self._threads = Background(2 * most)

    def join(self, asked, client):
        """Add a request of a client to those that wait for a LookUp. It begins now, or when its turn comes.

        `asked`: the LookUp; `client`: its key, native text. Raises DnsFull if too many names wait.
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
        """Remove a request from those that wait. Return True if it was the last one and the look-up will not begin.

        `asked`: the LookUp; `client`: its key, native text.
        """
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
        """Begin the look-ups whose turn it is. A client may have as many threads as are left free."""
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
            self._finish(asked, None)

    def _release(self, asked):
        self._busy[asked.client] -= 1
        if not self._busy[asked.client]:
            del self._busy[asked.client]
        self._free += 1

    def _end(self, asked, value):
        self._release(asked)
        self._finish(asked, value)
        self._begin()


class Resolver(object):
    """Looks up names. There is one Resolver for the process."""

    def __init__(self, keep=60.0, keep_failed=5.0, ask=look_up, hosts=HOSTS_FILE):
        """`keep`, `keep_failed`: seconds for which an answer, or a failure, is remembered; `ask`: a function like
        `look_up`; `hosts`: native text, the path of the file whose names need no network."""
        self.keep, self.keep_failed = keep, keep_failed
        self._ask = ask
        self._hosts = Hosts(hosts)
        self._cache = ExpiringCache(CACHE_SIZE)         # {host: Answer}
        self._pending = {}                              # {host: (LookUp, the Threads that it is for)}
        self._network = Threads(THREADS, self._answer, self._finish)
        self._local = Threads(HOSTS_THREADS, self._answer, self._finish)
        self.asked = 0                                  # look-ups, in all

    def use(self, options):
        """Use other settings from now on. `options`: the section [upstream]."""
        self.keep, self.keep_failed = options.dns_keep, options.dns_keep_failed

    def resolve(self, host, limit, client=''):
        """Return the addresses of a host as native texts, in the order to try. May wait.

        `host`: octets, a name or an address, which is returned as it is; `limit`: the TimeLimit; `client`: the key of
        the client whose share of the threads is used, native text, see rates.key_of.
        Raises DnsError, DnsTimeout, DnsFull.
        """
        name = to_native(host)
        if name == 'localhost.':
            name = 'localhost'          # with the dot name servers would be asked, which is forbidden (RFC 6761, 6.3)
        if address.is_ip(name):
            return [name]
        if any(not 0 < len(label) < 64 for label in name[:-1 if name[-1:] == '.' else None].split('.')):
            raise errors.DnsError("'%s' cannot be a name: a label of it is longer than 63" % name)
        answer = self._cache.get(name, monotonic()) or self._await(name, limit, client)
        if answer.error:
            raise errors.DnsError(answer.error)
        return answer.addresses

    def renew(self, host, addresses, since, limit, client=''):
        """Look up a name again after all its addresses have failed. Return its new addresses, as native texts.

        `addresses`: the return value of `resolve`; `since`: monotonic seconds: only an answer older than that is looked
        up again, and if new addresses fail as well, only once in RENEWED seconds; `host`, `limit`, `client`: as for
        `resolve`. May wait.
        """
        name = to_native(host)
        old = self._cache.peek(name, EVER)
        if old is None and name not in self._pending:
            return []                   # it is an address, or answers are not kept, so that this one was new
        if old is not None and old.addresses is addresses:
            if old.asked >= since or old.renewed and old.renewed + RENEWED > monotonic():
                return []
            self._cache.forget(name)    # if another has done that, its look-up does for this one
        try:
            found = self.resolve(host, limit, client)
        except (errors.DnsError, errors.DnsTimeout, errors.DnsFull):
            found = addresses
            if old is not None and old.addresses is addresses:
                self._cache.put(name, old, old.expires)         # better than nothing, until it expires
        now = self._cache.peek(name, EVER)
        if now is not None:
            self._cache.put(name, now._replace(renewed=monotonic()), now.expires)
        return [each for each in found if each not in addresses]

    @property
    def cached(self):
        """Return how many names are remembered."""
        return len(self._cache)

    @property
    def pending(self):
        """Return how many look-ups are waiting or under way."""
        return len(self._pending)

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
                # The process was stopped (SIGSTOP): answers may be there, and need a moment to be seen.
                with gevent.Timeout(OVERSLEPT):
                    return asked.answer.get()
        except gevent.Timeout:
            raise limit.error("no answer about '%s' within %.3g s ([timeouts] %s)" % (name, limit.seconds, limit.name))
        finally:
            if threads.leave(asked, client):
                del self._pending[name]

    def _look_up(self, name):
        """Return (the LookUp of a name, the Threads that do it), new or under way."""
        if name not in self._pending:
            self.asked += 1
            self._pending[name] = LookUp(name), self._local if name in self._hosts else self._network
        return self._pending[name]

    def _answer(self, name):
        """Look a name up, in a native thread. Always returns an Answer."""
        try:
            found = interleave(self._ask(name))[:MOST]
            return Answer(found, None, monotonic(), monotonic() + self.keep, 0)
        except (socket.error, UnicodeError, ValueError) as error:
            return self._failed(name, error.args[-1], self.keep_failed)

    def _failed(self, name, why, keep):
        return Answer([], "'%s' does not resolve: %s" % (name, why), monotonic(), monotonic() + keep, 0)

    def _finish(self, asked, answer):
        """Remember the Answer of a LookUp, and hand it to all that wait."""
        if answer is None:
            answer = self._failed(asked.name, 'no thread can be started', 0)
        if self._pending.get(asked.name, (None,))[0] is asked:
            del self._pending[asked.name]
        self._cache.put(asked.name, answer, answer.expires)
        asked.answer.set(answer)

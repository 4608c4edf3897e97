"""Log-ins: verified in native threads, remembered for a short time, and slow for those who guess.

One Logins for the process: it outlives reloads, so that neither what was verified nor who failed is forgotten then.
A password is held here for as long as it takes to verify it, and written nowhere; what is remembered is a keyed hash.
"""
from __future__ import absolute_import, division, print_function

import collections
import contextlib
import hashlib
import hmac
import math
import os
import traceback

import gevent
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from geproxy import auth, errors, hashes, users
from geproxy.address import household
from geproxy.compat import monotonic, native_sleep

# Threads that verify at once: one processor stays for all the rest. With two on two processors 25 log-ins by bcrypt
# took as long, but the hub's worst lag went from 5 ms to 20 and more (2.7 and 3.13, November 2026).
THREADS = max(1, min(4, os.sysconf('SC_NPROCESSORS_ONLN') - 1))
REST = 0.0002           # seconds: what a thread leaves to others after each piece of work that holds the interpreter
CACHE_SIZE = 10000      # results; the least recently used goes
FREE = 3                # failures of an address that cost nothing; mistakes happen
FIRST_DELAY = 0.5       # seconds that the next attempt waits; doubled with each further one
MOST_DELAY = 8.0        # seconds
MEMORY = 600.0          # seconds after which the failures of an address are forgotten
PLACES = 10000          # addresses of which failures are remembered; the least recently failed goes
WAITING = 4             # attempts of an address with a delay that may wait at once ...
OVERSLEPT = 0.5         # seconds behind a limit that show that this process was stopped, or had too much to do
VERIFYING = 64          # ... and of one without: what can be guessed at once, before any of it has failed

User = collections.namedtuple('User', 'name groups')            # octets, and a frozenset of octets
ANONYMOUS = User(None, frozenset())
# Name and password, octets; the Secret to compare with; whether there is such a user; what to remember it by.
Claim = collections.namedtuple('Claim', 'name password secret known key')


# --- those who fail --------------------------------------------------------------------------------------------------

class Failures(object):
    """How often log-ins from an address have failed lately, and how many of its attempts are under way."""

    def __init__(self):
        self._failed = collections.OrderedDict()        # {place: (how often, when to forget it)}
        self._under_way = collections.Counter()         # {place: attempts}

    def delay(self, place):
        """Seconds that the next attempt from there has to wait."""
        times, until = self._failed.get(place, (0, 0))
        if times < FREE or until < monotonic():
            return 0.0
        return min(MOST_DELAY, FIRST_DELAY * 2 ** min(times - FREE, 10))

    @contextlib.contextmanager
    def attempt(self, place):
        """While one is under way: gives its delay. Raises LoginsThrottled if there are too many."""
        delay = self.delay(place)
        under_way = self._under_way[place]
        if under_way >= (WAITING if delay else VERIFYING):
            why = ', after others failed' if delay else ''
            raise errors.LoginsThrottled(
                '%d log-ins from your address are under way already%s' % (under_way, why), int(math.ceil(delay)) or 1)
        self._under_way[place] += 1
        try:
            yield delay
        finally:
            self._under_way[place] -= 1
            if not self._under_way[place]:
                del self._under_way[place]

    def add(self, place):
        """One more has failed."""
        times, until = self._failed.pop(place, (0, 0))
        now = monotonic()
        self._failed[place] = (times + 1 if until >= now else 1, now + MEMORY)
        while len(self._failed) > PLACES:
            self._failed.popitem(last=False)

    def forget(self, place):
        """One has succeeded."""
        self._failed.pop(place, None)


# --- the log-ins -----------------------------------------------------------------------------------------------------

class Logins(object):
    """One for the process."""

    def __init__(self, report, keep=60.0):
        """`report`: a function of native text, for what the log should say about the files; `keep`: seconds that a
        result, good or bad, is good for."""
        self.keep = keep
        self._report = report
        self._said = ''                             # what was reported of files that are bad, so that it is once
        self._looking = False                       # at the files
        self._mac = hmac.new(os.urandom(32), digestmod=hashlib.sha256)
        self._cache = collections.OrderedDict()     # {key: (good, expires)}
        self._pending = {}                          # {key: AsyncResult of good, or of None: nobody has verified it}
        self._failures = Failures()
        self._pool = self._files = None

    def refresh(self, book, use):
        """Read the files of a users.Book again if they have changed. To be called about once a second; never waits.

        `use`: called with (book, the new one); true if that is the one from now on. A file that is bad, or
        gone, changes nothing: that is reported once.
        """
        if self._looking or book is None:
            return
        if self._files is None:
            self._files = ThreadPool(1)
        job = self._files.spawn(_read_again, book)      # raises if there is no thread to be had: then the next time
        self._looking = True
        job.rawlink(lambda job: self._refreshed(book, use, *job.value))

    def _refreshed(self, old, use, book, why):
        self._looking = False
        if book is not None:
            if use(old, book):
                self._report('%s reread: %d users' % (' and '.join(book.paths), len(book.users)))
        elif why and why != self._said:
            self._report('the users stay as they were, for what is wrong in their files:\n%s' % why)
        self._said = why

    def check(self, book, value, client, limit):
        """Who is asking -> User. May wait, for `limit`.

        `book`: the users.Book that this request goes by; `value`: octets of the Proxy-Authorization field,
        None if there is none; `client`: native text of the address.
        Raises LoginRequired, LoginFailed, LoginsThrottled, and what the limit does.
        """
        if value is None:
            raise errors.LoginRequired('this proxy asks for a name and a password')
        try:
            credentials = auth.parse_credentials(value)
        except ValueError as error:
            raise errors.LoginFailed('log-in failed: %s' % error)
        if credentials is None:
            raise errors.LoginRequired('this proxy asks for a name and a password, by the scheme Basic')
        claim = self._claim(book, *credentials)
        # What is known to be good is not held up by what others from the same address do, nor makes up for it.
        if not self._remembered(claim.key) and not self._judge(claim, household(client), limit):
            raise errors.LoginFailed("log-in as '%s' failed" % auth.show_name(claim.name))
        return User(claim.name, book.groups.get(claim.name, frozenset()))

    def _claim(self, book, name, password):
        secret = book.users.get(name)
        known = secret is not None
        if not known:
            # As if it were one of the users, always the same: how long it takes tells nothing about who there is.
            secret = book.secrets[int(self._hash(name)[:8], 16) % len(book.secrets)]
        # With `known`, or who was a user lately would be one still, should the stand-in have the same hash.
        key = self._hash(name, password, b'%d' % known, secret.salt, secret.digest)
        return Claim(name, password, secret, known, key)

    def _hash(self, *parts):
        mac = self._mac.copy()
        for part in parts:
            mac.update(b'%d:%s' % (len(part), part))
        return mac.hexdigest()

    def _remembered(self, key):
        """True, False, or None if it is not known."""
        good, expires = self._cache.pop(key, (None, 0))
        if expires < monotonic():
            return None
        self._cache[key] = (good, expires)          # the most recently used is last
        return good

    def _judge(self, claim, place, limit):
        """Whether a claim not known to be good is. Waits, first of all for as long as its place deserves."""
        deadline = monotonic() + limit.seconds
        try:
            try:
                return self._attempt(claim, place, limit)
            except gevent.Timeout:
                if monotonic() < deadline + OVERSLEPT:
                    raise
                # After SIGSTOP: nobody was at work. Once more; what a thread has begun goes on.
                return self._attempt(claim, place, limit)
        except gevent.Timeout:
            raise limit.error("log-in as '%s' not verified within %.3g s ([timeouts] %s)" % (
                auth.show_name(claim.name), limit.seconds, limit.name))

    def _attempt(self, claim, place, limit):
        """The same, or raise gevent.Timeout."""
        with gevent.Timeout(limit.seconds):
            if claim.key in self._pending and not self._failures.delay(place):
                return self._verify(claim)      # the same again, as browsers do, is no further attempt
            with self._failures.attempt(place) as delay:
                if delay:
                    gevent.sleep(min(delay, limit.seconds / 2))     # or else nobody ever got in from there
                return self._count(claim, place)

    def _count(self, claim, place):
        """Verify it, and remember for its place how that ended."""
        joins = claim.key in self._pending          # then who began it counts it
        good = self._remembered(claim.key)
        if good is None:
            good = self._verify(claim)
        if good:
            self._failures.forget(place)
        elif not joins:
            self._failures.add(place)
        return good

    def _verify(self, claim):
        """Let it be verified, once however many ask at once."""
        good = None
        while good is None:                         # whoever was to do it may have given up
            pending = self._pending.get(claim.key)
            good = (self._begin(claim) if pending is None else pending).get()
        return good

    def _begin(self, claim):
        pending = self._pending[claim.key] = AsyncResult()
        try:
            if self._pool is None:
                self._pool = ThreadPool(THREADS)
            # Waits for a free thread, if it must: the caller's limit covers that.
            job = self._pool.spawn(hashes.verify, claim.secret, claim.password, _rest)
            job.rawlink(lambda job: self._settle(claim, pending, job))
        except BaseException:
            del self._pending[claim.key]
            pending.set(None)
            raise
        return pending

    def _settle(self, claim, pending, job):
        del self._pending[claim.key]
        if not job.successful():
            pending.set_exception(job.exception)
            return
        good = claim.known and job.value
        self._cache[claim.key] = (good, monotonic() + self.keep)
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        pending.set(good)


def _rest():
    """In a native thread: let the hub run, which else might get the interpreter back only after 5 ms, for each time
    that it lets go of it."""
    native_sleep(REST)


def _read_again(book):
    """In a native thread: -> (Book or None, what is wrong or '')."""
    try:
        return users.read_again(book), ''
    except users.FilesError as error:
        return None, str(error)
    except Exception:                   # without an answer nobody would ever look again
        return None, 'a bug, please report it:\n%s' % traceback.format_exc()

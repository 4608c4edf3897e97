"""Log-ins: verified in native threads, remembered for a short time, and slow for those who guess.

One Logins for the process: it outlives reloads, so that neither what was verified nor who failed is forgotten then.
A password is held here for as long as it takes to verify it, and written nowhere; what is remembered is a keyed hash.
"""
from __future__ import absolute_import, division, print_function

import collections
import contextlib
import functools
import hashlib
import hmac
import math
import os
import traceback

import gevent
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from geproxy import errors
from geproxy.auth import hashes, htpasswd
from geproxy.auth.users import FilesError, read_again, stand_in
from geproxy.compat import monotonic, native_sleep

# Threads that verify at once: one processor stays for all the rest. With two on two processors 25 log-ins by bcrypt
# took as long, but the hub's worst lag went from 5 ms to 20 and more (2.7 and 3.13, November 2026).
THREADS = max(1, min(4, os.sysconf('SC_NPROCESSORS_ONLN') - 1))
REST = 0.0002           # seconds: what a thread leaves to others after each piece of work that holds the interpreter
CACHE_SIZE = 10000      # results; the least recently used goes
KNOWN = 86400.0         # seconds that a log-in that was good keeps its user from being slowed down
FREE = 3                # failures with one name from one place that cost nothing; mistakes happen
FREE_OF_PLACE = 50      # failures from one place, whatever the names: of a name, only the first FREE count there
STEP = 10               # failures of a place beyond these that double its delay
FIRST_DELAY = 0.5       # seconds that the next attempt waits; doubled with each further one
MOST_DELAY = 8.0        # seconds
MEMORY = 600.0          # seconds after which failures are forgotten
PLACES = 10000          # whose failures are remembered, and as many pairs with a name; the least recently failed goes
WAITING = 4             # attempts with a name from a place that may wait at once, if they have a delay ...
WAITING_OF_PLACE = 16   # ... of a place that has a delay, whatever the names ...
VERIFYING = 64          # ... and of any place: what can be guessed at once, before any of it has failed
SLOW_FILES = 3.0        # seconds of reading the files of users after which the log says so
FILES_PATIENCE = 30.0   # seconds after which they are read anew, by another thread; the first one hangs on
MOST_STUCK = 4          # threads that hang; then the files are read only once one of them has come back
OVERSLEPT = 0.5         # seconds behind a limit that show that this process was stopped, or had too much to do

User = collections.namedtuple('User', 'name groups')            # octets, and a frozenset of octets
ANONYMOUS = User(None, frozenset())
# Name and password, octets; the Secret to compare with; whether there is such a user; what to remember it by.
Claim = collections.namedtuple('Claim', 'name password secret known key')


class Look(object):
    """One reading of the files of users, in a native thread."""

    def __init__(self, paths):
        """`paths`: of the files."""
        self.paths, self.since = paths, monotonic()
        self.said = False                               # that it takes long


# --- those who fail --------------------------------------------------------------------------------------------------

class Failures(object):
    """How often log-ins have failed lately, and how many attempts are under way.

    A place is an address, or a network of IPv6; many people may be behind it. So failures count for the place and the
    name together first: a guesser slows down only the user whose name it tries, and only from there. They count for
    the place alone far later, when a guesser has gone through many names.
    """

    def __init__(self):
        self._pairs = collections.OrderedDict()         # {(place, name): (how often, when to forget it)}
        self._places = collections.OrderedDict()        # {place: the same}
        self._under_way = collections.Counter()         # {place, or (place, name): attempts}

    def delay(self, place, name):
        """Return the seconds that the next attempt with that name from there has to wait."""
        return max(_delay(_times(self._pairs, (place, name)) - FREE), self._delay_of(place))

    def _delay_of(self, place):
        return _delay((_times(self._places, place) - FREE_OF_PLACE) // STEP)

    @contextlib.contextmanager
    def attempt(self, place, name):
        """While one is under way: gives its delay. Raises LoginsThrottled if there are too many."""
        delay, pair = self.delay(place, name), (place, name)
        for key, most in ((pair, WAITING if delay else VERIFYING),
                          (place, WAITING_OF_PLACE if self._delay_of(place) else VERIFYING)):
            under_way = self._under_way[key]
            if under_way >= most:
                raise errors.LoginsThrottled('%d log-ins %sfrom your address are under way already%s' % (
                    under_way, 'with this name ' if key is pair else '', ', after others failed' if delay else ''),
                    int(math.ceil(delay)) or 1)
        for key in (pair, place):
            self._under_way[key] += 1
        try:
            yield delay
        finally:
            for key in (pair, place):
                self._under_way[key] -= 1
                if not self._under_way[key]:
                    del self._under_way[key]

    def add(self, place, name):
        """One more has failed."""
        if _add(self._pairs, (place, name)) <= FREE:
            _add(self._places, place)

    def forget(self, place, name):
        """One has succeeded. What has failed with other names is not made up for by that: they may be guessed."""
        self._pairs.pop((place, name), None)


def _times(failed, key):
    times, until = failed.get(key, (0, 0))
    return times if until >= monotonic() else 0


def _delay(beyond):
    """The seconds of a delay after so many failures beyond those that are free."""
    return min(MOST_DELAY, FIRST_DELAY * 2 ** min(beyond, 10)) if beyond >= 0 else 0.0


def _add(failed, key):
    times = _times(failed, key) + 1
    failed.pop(key, None)
    failed[key] = times, monotonic() + MEMORY
    while len(failed) > PLACES:
        failed.popitem(last=False)
    return times


# --- whose turn it is ------------------------------------------------------------------------------------------------

class Pending(object):
    """A verification that is to be done, or is being done."""

    def __init__(self, claim, place):
        self.claim, self.place = claim, place
        self.result = AsyncResult()                     # whether the claim is good
        self.waiting = 0                                # greenlets that wait for that


class Turns(object):
    """A queue in which places take turns, so that many attempts from one place do not hold up the others."""

    def __init__(self):
        self._queues = collections.OrderedDict()        # {place: OrderedDict of Pending}; whose turn is next is first

    def put(self, pending):
        """Add a Pending, behind the others from its place."""
        self._queues.setdefault(pending.place, collections.OrderedDict())[pending] = True

    def take(self):
        """Take the next Pending; None if there is none."""
        if not self._queues:
            return None
        place, queue = self._queues.popitem(last=False)
        pending = queue.popitem(last=False)[0]
        if queue:
            self._queues[place] = queue
        return pending

    def drop(self, pending):
        """Take a Pending out, if it has not been taken; true if it had not."""
        queue = self._queues.get(pending.place, {})
        found = queue.pop(pending, False)
        if found and not queue:
            del self._queues[pending.place]
        return found


# --- the log-ins -----------------------------------------------------------------------------------------------------

class Logins(object):
    """One for the process."""

    def __init__(self, report, keep=60.0):
        """`report`: a function of native text, for what the log should say about the files; `keep`: seconds that a
        result, good or bad, is good for."""
        self.keep = keep
        self._report = report
        self._said = ''                             # what was reported of files that are bad, so that it is once
        self._look, self._stuck = None, []          # the Look at the files that is under way, and those given up
        self._mac = hmac.new(os.urandom(32), digestmod=hashlib.sha256)
        self._cache = collections.OrderedDict()     # {key: (good, expires)}
        self._known = collections.OrderedDict()     # {key: when to forget that this was good}
        self._pending = {}                          # {key: Pending}
        self._turns, self._running = Turns(), 0     # verifications that wait, and how many run
        self._failures = Failures()
        self._pool = self._files = None

    def refresh(self, users, use):
        """Read the files of a users.Users again if they have changed. To be called about once a second; never waits.

        `use`: called with (users, the new one); true if that is the one from now on. A file that is bad, or
        gone, changes nothing: that is reported once, and so is a file that takes long to read.
        """
        if users is None or self._is_looking(users.paths):
            return
        if self._files is None:
            self._files = ThreadPool(1)
        job = self._files.spawn(_read_again, users)      # raises if there is no thread to be had: then the next time
        look = self._look = Look(users.paths)
        job.rawlink(lambda job: self._refreshed(look, users, use, *job.value))

    def _is_looking(self, paths):
        """Return True if no other thread is to read the files now, as one still does. Says so if that takes long."""
        look = self._look
        if look is None or len(self._stuck) >= MOST_STUCK:
            return look is not None
        seconds = monotonic() - look.since
        if seconds > SLOW_FILES and not look.said:
            look.said = True
            self._report('the users stay as they were: %s could not be read within %d s; it is tried again' % (
                ' and '.join(look.paths), SLOW_FILES))
        if look.paths == paths and seconds <= FILES_PATIENCE:
            return True
        self._stuck.append(look)
        self._look = self._files = None
        return False

    def _refreshed(self, look, old, use, fresh, why):
        if look is not self._look:
            self._stuck.remove(look)                    # its answer is an old one
            return
        self._look = None
        if fresh is not None:
            if use(old, fresh):
                self._report('%s reread: %d users' % (' and '.join(fresh.paths), len(fresh.by_name)))
        elif why and why != self._said:
            self._report('the users stay as they were, for what is wrong in their files:\n%s' % why)
        self._said = why

    def check(self, users, credentials, place, limit):
        """Who is asking -> User. May wait, for `limit`.

        `users`: the users.Users that this request goes by; `credentials`: (name, password), octets as the client sent
        them, or None if it sent none; `place`: whom to count, native text (address.household).
        Raises LoginRequired, LoginFailed, LoginsThrottled, and what the limit does.
        """
        if credentials is None:
            raise errors.LoginRequired('this proxy asks for a name and a password')
        claim = self._claim(users, *htpasswd.normalised(*credentials))
        # What is known to be good is not held up by what others from the same address do, nor makes up for it.
        if not self._remembered(claim.key) and not self._judge(claim, place, limit):
            raise _failure(users, claim)
        return User(claim.name, users.groups.get(claim.name, frozenset()))

    def _claim(self, users, name, password):
        secret = users.by_name.get(name)
        known = secret is not None
        if not known:
            secret = stand_in(users, name)     # how long it takes tells nothing about who there is
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
                htpasswd.show_name(claim.name), limit.seconds, limit.name))

    def _attempt(self, claim, place, limit):
        """The same, or raise gevent.Timeout."""
        with gevent.Timeout(limit.seconds):
            again = claim.key in self._pending and not self._failures.delay(place, claim.name)
            if again or self._known.get(claim.key, 0) > monotonic():
                # The same again, as browsers do, is no further attempt. And guessers do not slow down a user who has
                # logged in with this password lately.
                return self._verify(claim, place)
            with self._failures.attempt(place, claim.name) as delay:
                if delay:
                    gevent.sleep(min(delay, limit.seconds / 2))     # or else nobody ever got in from there
                return self._count(claim, place)

    def _count(self, claim, place):
        """Verify it, and remember for its place how that ended."""
        joins = claim.key in self._pending          # then who began it counts it
        good = self._remembered(claim.key)
        if good is None:
            good = self._verify(claim, place)
        if good:
            self._failures.forget(place, claim.name)
        elif not joins:
            self._failures.add(place, claim.name)
        return good

    def _verify(self, claim, place):
        """Let it be verified, once however many ask at once, when it is the turn of its place."""
        pending = self._pending.get(claim.key)
        if pending is None:
            pending = self._pending[claim.key] = Pending(claim, place)
            self._turns.put(pending)
            self._begin()
        pending.waiting += 1
        try:
            return pending.result.get()
        finally:
            pending.waiting -= 1
            if not pending.waiting and self._turns.drop(pending):
                del self._pending[claim.key]        # all that asked have given up before its turn

    def _begin(self):
        """Have as much verified as there are threads."""
        if self._pool is None:
            self._pool = ThreadPool(THREADS)
        while self._running < THREADS:              # or else the pool would wait, and the hub calls this, too
            pending = self._turns.take()
            if pending is None:
                return
            self._running += 1
            job = self._pool.spawn(hashes.verify, pending.claim.secret, pending.claim.password, _rest)
            job.rawlink(functools.partial(self._settle, pending))

    def _settle(self, pending, job):
        claim = pending.claim
        self._running -= 1
        del self._pending[claim.key]
        if job.successful():
            good = claim.known and job.value
            _keep(self._cache, claim.key, (good, monotonic() + self.keep))
            if good:
                _keep(self._known, claim.key, monotonic() + KNOWN)
            pending.result.set(good)
        else:
            pending.result.set_exception(job.exception)
        self._begin()


def _keep(kept, key, value):
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > CACHE_SIZE:
        kept.popitem(last=False)


def _failure(users, claim):
    """The LoginFailed for a Claim that is not good."""
    error = errors.LoginFailed("log-in as '%s' failed" % htpasswd.show_name(claim.name))
    # For all names alike, so that it does not tell whose hash is of bcrypt.
    if len(claim.password) > hashes.BCRYPT_SIZE and any(secret.kind == 'bcrypt' for secret in users.secrets):
        error.hint = 'Choose a shorter password: one of more than %d octets never fits a bcrypt hash.' % (
            hashes.BCRYPT_SIZE)
    return error


def _rest():
    """In a native thread: let the hub run, which else might get the interpreter back only after 5 ms, for each time
    that it lets go of it."""
    native_sleep(REST)


def _read_again(users):
    """In a native thread: -> (Users or None, what is wrong or '')."""
    try:
        return read_again(users), ''
    except FilesError as error:
        return None, str(error)
    except Exception:                   # without an answer nobody would ever look again
        return None, 'a bug, please report it:\n%s' % traceback.format_exc()

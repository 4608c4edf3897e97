"""Verifies log-ins in native threads, remembers them for a short time, and slows down clients that guess.

There is one Logins for the process. It outlives reloads, so a reload forgets neither good log-ins nor failures. A
password is held here while it is verified, and written nowhere. Only a keyed hash of it is remembered.
"""
from __future__ import absolute_import, division, print_function

import collections
import functools
import hashlib
import hmac
import os
import traceback

import gevent
from gevent.event import AsyncResult

from geproxy import errors
from geproxy.auth import hashes, htpasswd
from geproxy.auth.failures import Failures
from geproxy.auth.users import FilesError, read_again, stand_in
from geproxy.compat import monotonic, native_lock_error, native_sleep
from geproxy.memo import ExpiringCache
from geproxy.net.background import Background

# Threads that verify at the same time: one processor is left for everything else. With two threads on two processors 25
# log-ins by bcrypt took as long, but the hub's worst lag went from 5 ms to 20 and more (2.7 and 3.13, November 2026).
THREADS = max(1, min(4, os.sysconf('SC_NPROCESSORS_ONLN') - 1))
REST = 0.0002           # seconds that a thread sleeps after each piece of work that holds the interpreter
CACHE_SIZE = 10000      # results; the least recently used one is forgotten
KNOWN = 86400.0         # seconds for which a good log-in keeps its user from being slowed down
SLOW_FILES = 3.0        # seconds of reading the files of users after which the log says so
FILES_PATIENCE = 30.0   # seconds after which another thread reads them; the first one may hang for ever
OVERSLEPT = 0.5         # seconds; a time-out noticed later than this shows that the process was stopped, or busy

User = collections.namedtuple('User', 'name groups')            # octets, and a frozenset of octets
ANONYMOUS = User(None, frozenset())
# `name`, `password`: octets; `secret`: the Secret to compare with; `known`: True if there is such a user; `key`: the
# keyed hash by which the result is remembered.
Claim = collections.namedtuple('Claim', 'name password secret known key')


class Look(object):
    """One reading of the files of users, in a native thread."""

    def __init__(self, paths, result):
        """`paths`: of the files, native texts; `result`: the return value of Background.do."""
        self.paths, self.result, self.since = paths, result, monotonic()
        self.said = False                               # the log has been told that it takes long


# --- clients take turns ----------------------------------------------------------------------------------------------

class Pending(object):
    """A verification that is waiting for a thread, or is under way."""

    def __init__(self, claim, client_key):
        """`claim`: a Claim; `client_key`: of the client that asked first, see Failures.delay."""
        self.claim, self.client_key = claim, client_key
        self.result = AsyncResult()                     # True if the claim is good
        self.waiting = 0                                # greenlets that wait for that


class Turns(object):
    """A queue in which clients take turns, so that many attempts of one client do not hold up the others."""

    def __init__(self):
        self._queues = collections.OrderedDict()        # {client key: OrderedDict of Pending}, the next turn first

    def put(self, pending):
        """Add `pending`, a Pending, after the others of its client."""
        self._queues.setdefault(pending.client_key, collections.OrderedDict())[pending] = True

    def take(self):
        """Remove and return the next Pending, or return None if there is none."""
        if not self._queues:
            return None
        client_key, queue = self._queues.popitem(last=False)
        pending = queue.popitem(last=False)[0]
        if queue:
            self._queues[client_key] = queue
        return pending

    def drop(self, pending):
        """Remove `pending`, a Pending. Return True, or False if it was taken before."""
        queue = self._queues.get(pending.client_key, {})
        found = queue.pop(pending, False)
        if found and not queue:
            del self._queues[pending.client_key]
        return found


# --- the log-ins -----------------------------------------------------------------------------------------------------

class Logins(object):
    """Checks log-ins. There is one Logins for the process."""

    def __init__(self, report, keep=60.0):
        """`report`: a function of native text, for what the log should say about the files; `keep`: seconds for which
        a result, good or bad, is remembered."""
        self.keep = keep
        self._report = report
        self._said = ''                             # what was reported of bad files, so that it is reported once
        self._look = None                           # the Look at the files that is under way
        self._mac = hmac.new(os.urandom(32), digestmod=hashlib.sha256)
        self._cache = ExpiringCache(CACHE_SIZE)     # {key of a Claim: True if it is good}
        self._known = ExpiringCache(CACHE_SIZE)     # {key of a Claim that was good lately: True}
        self._pending = {}                          # {key of a Claim: Pending}
        self._turns, self._running = Turns(), 0     # verifications that wait for a thread; how many have one
        self._failures = Failures()
        self._threads, self._files = Background(THREADS), Background(1)

    def refresh(self, users, use):
        """Have the files of users read again if they have changed. Call this about once a second. Never waits.

        `users`: the users.Users that hold now, or None; `use`: a function of (users, the new ones), called later, that
        returns True if the new ones hold from now on. A file that is bad or gone changes nothing: that is reported
        once. So is a file that takes long to read.
        """
        if users is None or self._is_looking(users.paths):
            return
        result = self._files.do(_read_again, users)     # raises if no thread can be started: then it is the next time
        look = self._look = Look(users.paths, result)
        result.rawlink(lambda result: self._refreshed(look, users, use, *result.value[0]))

    def _is_looking(self, paths):
        """Return True if a thread is still reading the files, so that no other should. Reports it if that takes long.
        """
        look = self._look
        if look is None or self._files.is_stuck():
            return look is not None
        seconds = monotonic() - look.since
        if seconds > SLOW_FILES and not look.said:
            look.said = True
            self._report('the users stay as they were: %s could not be read within %d s; it is tried again' % (
                ' and '.join(look.paths), SLOW_FILES))
        if look.paths == paths and seconds <= FILES_PATIENCE:
            return True
        self._files.give_up(look.result)
        self._look = None
        return False

    def _refreshed(self, look, old, use, fresh, why):
        if look is not self._look:
            return                                      # it was given up, and what it has read is old
        self._look = None
        if fresh is not None:
            if use(old, fresh):
                self._report('%s reread: %d users' % (' and '.join(fresh.paths), len(fresh.by_name)))
        elif why and why != self._said:
            self._report('the users stay as they were, for what is wrong in their files:\n%s' % why)
        self._said = why

    def check(self, users, credentials, client_key, limit):
        """Return the User who logs in. May wait, for `limit`.

        `users`: the users.Users that hold for this request; `credentials`: (name, password), octets as the client sent
        them, or None if it sent none; `client_key`: the key by which failures are counted, native text, see
        rates.key_of; `limit`: a TimeLimit. Raises LoginRequired, LoginFailed, LoginsThrottled, and the error of the
        limit.
        """
        if credentials is None:
            raise errors.LoginRequired('this proxy asks for a name and a password')
        claim = self._claim(users, *htpasswd.normalised(*credentials))
        # A log-in known to be good is not held up by failures from the same address, and makes up for none of them.
        if not self._cache.get(claim.key, monotonic()) and not self._judge(claim, client_key, limit):
            raise _failure(users, claim)
        return User(claim.name, users.groups.get(claim.name, frozenset()))

    def _claim(self, users, name, password):
        secret = users.by_name.get(name)
        known = secret is not None
        if not known:
            secret = stand_in(users, name)      # so that the time it takes does not tell which users there are
        # `known` is part of the key, or a user who was removed could still log in if the stand-in has the same hash.
        key = self._hash(name, password, b'%d' % known, secret.salt, secret.digest)
        return Claim(name, password, secret, known, key)

    def _hash(self, *parts):
        mac = self._mac.copy()
        for part in parts:
            mac.update(b'%d:%s' % (len(part), part))
        return mac.hexdigest()

    def _judge(self, claim, client_key, limit):
        """Return True if a claim is good that is not known to be. Waits, first for the delay that its client has."""
        deadline = monotonic() + limit.seconds
        try:
            try:
                return self._attempt(claim, client_key, limit)
            except gevent.Timeout:
                if monotonic() < deadline + OVERSLEPT:
                    raise
                # The process was stopped (SIGSTOP), and no thread could work: try once more. What has begun goes on.
                return self._attempt(claim, client_key, limit)
        except gevent.Timeout:
            raise limit.error("log-in as '%s' not verified within %.3g s ([timeouts] %s)" % (
                htpasswd.show_name(claim.name), limit.seconds, limit.name))

    def _attempt(self, claim, client_key, limit):
        """Return what `_judge` does, or raise gevent.Timeout."""
        with gevent.Timeout(limit.seconds):
            again = claim.key in self._pending and not self._failures.delay(client_key, claim.name)
            if again or self._known.peek(claim.key, monotonic()):
                # The same log-in at the same time, as browsers send it, is no further attempt. And guessers do not slow
                # down a user who has logged in with this password lately.
                return self._verify(claim, client_key)
            with self._failures.attempt(client_key, claim.name) as delay:
                if delay:       # of a delay longer than the limit only a part, or nobody could ever log in from there
                    gevent.sleep(min(delay, limit.seconds / 2))
                return self._count(claim, client_key)

    def _count(self, claim, client_key):
        """Verify a claim, and count the failure of its client, or forget earlier ones."""
        joins = claim.key in self._pending          # then the request that began it counts it
        good = self._cache.get(claim.key, monotonic())
        if good is None:
            good = self._verify(claim, client_key)
        if good:
            self._failures.forget(client_key, claim.name)
        elif not joins:
            self._failures.add(client_key, claim.name)
        return good

    def _verify(self, claim, client_key):
        """Verify a claim when it is the turn of its client, and only once for all that ask at the same time."""
        pending = self._pending.get(claim.key)
        if pending is None:
            pending = self._pending[claim.key] = Pending(claim, client_key)
            self._turns.put(pending)
            self._begin()
        pending.waiting += 1
        try:
            return pending.result.get()
        finally:
            pending.waiting -= 1
            if not pending.waiting and self._turns.drop(pending):
                del self._pending[claim.key]        # all that waited have given up before its turn

    def _begin(self):
        """Begin as many verifications as there are free threads."""
        while self._running < THREADS:              # a further job would wait here, and the hub calls this, too
            pending = self._turns.take()
            if pending is None:
                return
            try:
                result = self._threads.do(hashes.verify, pending.claim.secret, pending.claim.password, _rest)
            except native_lock_error as error:  # no thread can be started: the next log-in tries again
                del self._pending[pending.claim.key]
                pending.result.set_exception(error)
                continue
            self._running += 1
            result.rawlink(functools.partial(self._finish, pending))

    def _finish(self, pending, result):
        """Hand a result to all that wait for it, and begin the next verification. Called by the hub."""
        claim, (fits, error) = pending.claim, result.value
        self._running -= 1
        del self._pending[claim.key]
        if error is None:
            good = claim.known and fits
            self._cache.put(claim.key, good, monotonic() + self.keep)
            if good:
                self._known.put(claim.key, True, monotonic() + KNOWN)
            pending.result.set(good)
        else:
            pending.result.set_exception(error)
        self._begin()


def _failure(users, claim):
    """Return the LoginFailed for a Claim that is not good."""
    error = errors.LoginFailed("log-in as '%s' failed" % htpasswd.show_name(claim.name))
    # The same for all names, so that it does not tell which user has a bcrypt hash.
    if len(claim.password) > hashes.BCRYPT_SIZE and any(secret.kind == 'bcrypt' for secret in users.secrets):
        error.hint = 'Choose a shorter password: one of more than %d octets never fits a bcrypt hash.' % (
            hashes.BCRYPT_SIZE)
    return error


def _rest():
    """In a native thread: give the interpreter to the hub, which else may have to wait 5 ms for it each time."""
    native_sleep(REST)


def _read_again(users):
    """In a native thread: return (the new Users, or None if nothing has changed or something is wrong; what is wrong,
    native text, or '')."""
    try:
        return read_again(users), ''
    except FilesError as error:
        return None, str(error)
    except Exception:                   # the hub expects an answer, or the files would never be read again
        return None, 'a bug, please report it:\n%s' % traceback.format_exc()

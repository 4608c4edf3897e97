"""Log-ins: real files, real hashes, real threads. `verifying` only watches the verifications, or holds them up."""
from __future__ import absolute_import, division, print_function

import os

import gevent
import pytest

from geproxy import errors
from geproxy.auth import failures, hashes, logins, users
from geproxy.compat import native_lock, native_lock_error
from geproxy.net import background
from geproxy.net.deadlines import TimeLimit

SOON = TimeLimit('login', 0.3, errors.LoginTimeout)
LATER = TimeLimit('login', 60, errors.LoginTimeout)
SECRET = b'$apr1$a$PtM1vJaZieHDFk40mKMu6/'              # secret
OTHER = b'$1$saltsalt$9xy1btjgzLYfb7hivXtC//'           # secret, too
CLIENT, NEIGHBOUR = '10.0.0.1', '10.0.0.2'


class Verifying(object):
    """Stands before hashes.verify: counts what it is asked; while closed, native threads wait in it."""

    def __init__(self):
        self.passwords, self.secrets = [], []
        self._verify = hashes.verify
        self._gate = native_lock()

    def __call__(self, secret, password, pause):
        self.passwords.append(password)
        self.secrets.append(secret)
        with self._gate:
            return self._verify(secret, password, pause)

    def close(self):
        """Let nothing pass."""
        self._gate.acquire()

    def open(self):
        """Let go what waits."""
        if self._gate.locked():
            self._gate.release()


@pytest.fixture
def verifying(monkeypatch):
    verifying = Verifying()
    monkeypatch.setattr(hashes, 'verify', verifying)
    yield verifying
    verifying.open()


class House(object):
    """A Logins with its files, and what it reports."""

    def __init__(self, folder):
        self.path = str(folder.join('users'))
        self.said = []
        self.logins = logins.Logins(self.said.append)
        self.write(b'bob:' + SECRET, b'eve:' + OTHER)
        self.users = users.read(self.path)

    def write(self, *lines):
        """Other users."""
        with open(self.path + '.new', 'wb') as opened:
            opened.write(b'\n'.join(lines))
        os.rename(self.path + '.new', self.path)

    def check(self, name, password, client=CLIENT, limit=LATER):
        """Log in -> User."""
        return self.logins.check(self.users, (name, password), client, limit)

    def fails(self, name, password, client=CLIENT):
        """Log in, and see it fail -> what is said about it."""
        with pytest.raises(errors.LoginFailed) as caught:
            self.check(name, password, client)
        return str(caught.value)

    def spawn(self, *args):
        """Log in, in a greenlet that gets as far as it can."""
        greenlet = gevent.spawn(self.check, *args)
        gevent.sleep(0)
        return greenlet

    def look(self):
        """As the server does every second."""
        self.logins.refresh(self.users, self._use)

    def _use(self, old, fresh):
        if self.users is not old:
            return False
        self.users = fresh
        return True

    def refresh(self, reports):
        """As the server does, until there are so many reports."""
        with gevent.Timeout(10):
            while len(self.said) < reports:
                self.look()
                gevent.sleep(0.01)


@pytest.fixture
def house(tmpdir):
    return House(tmpdir)


def test_log_ins_go_on_once_threads_can_be_started_again(house, monkeypatch):
    def none(_threads):
        raise native_lock_error('cannot start a new thread')
    with monkeypatch.context() as patched:
        patched.setattr(background, 'ThreadPool', none)
        for _ in range(logins.THREADS):
            with pytest.raises(native_lock_error):
                house.check(b'bob', b'secret')
    assert house.check(b'bob', b'secret', limit=TimeLimit('login', 10, errors.LoginTimeout)).name == b'bob'


@pytest.fixture
def hasty(monkeypatch):
    """Delays of a tenth."""
    monkeypatch.setattr(failures, 'FIRST_DELAY', 0.05)
    monkeypatch.setattr(failures, 'MOST_DELAY', 0.8)


# --- good and bad log-ins -----------------------------------------------------------------------------------------------------

def test_a_client_with_the_right_password_is_that_user(house, tmpdir):
    assert house.check(b'bob', b'secret') == (b'bob', frozenset())
    with open(str(tmpdir.join('groups')), 'wb') as opened:
        opened.write(b'staff: eve bob\nadmins: eve\n')
    house.users = users.read(house.path, str(tmpdir.join('groups')))
    assert house.check(b'bob', b'secret') == (b'bob', {b'staff'})
    assert house.check(b'eve', b'secret') == (b'eve', {b'staff', b'admins'})


def test_a_client_that_sends_no_name_is_asked_for_one_and_that_is_no_failure(house, verifying):
    for _ in range(failures.VERIFYING):
        with pytest.raises(errors.LoginRequired) as caught:
            house.logins.check(house.users, None, CLIENT, SOON)
        assert str(caught.value) == 'this proxy asks for a name and a password'
    assert house.logins._failures.delay(CLIENT, b'bob') == 0


@pytest.mark.parametrize('name, password, said', [
    (b'bob', b'hunter2', "log-in as 'bob' failed"),
    (b'bob', b'', "log-in as 'bob' failed"),
    (b'nobody', b'hunter2', "log-in as 'nobody' failed"),
    (b'', b'', "log-in as '' failed"),
    (b'b\xc3\xb6b', b'hunter2', "log-in as 'b\\xc3\\xb6b' failed"),
    (b'bob@example.test', b'hunter2', "log-in as 'bob@example.test' failed"),
    (b'x' * 255, b'hunter2', "log-in as '" + 'x' * 64 + "...' failed"),
    (b'bo\nb', b'hunter2', 'log-in failed: name or password has a control character'),
])
def test_a_failure_names_the_user_and_never_the_password(house, name, password, said):
    assert house.fails(name, password) == said


def test_without_users_every_log_in_fails(house):
    house.users = users.NOBODY
    assert house.fails(b'bob', b'secret') == "log-in as 'bob' failed"


def test_an_unknown_user_costs_as_much_as_a_known_one(house, verifying):
    for name in (b'a', b'b', b'c', b'd', b'e', b'f', b'g', b'h', b'i', b'j', b'k', b'l', b'm', b'n', b'o', b'p'):
        house.fails(name, b'secret', '10.1.0.%d' % len(verifying.secrets))
    assert len(verifying.secrets) == 16
    assert set(verifying.secrets) == {hashes.parse(SECRET), hashes.parse(OTHER)}        # else once in 32,768 runs
    del verifying.secrets[:]
    for password in (b'1', b'2', b'3'):
        house.fails(b'a', password, NEIGHBOUR)
    assert len(set(verifying.secrets)) == 1


# --- what is remembered ----------------------------------------------------------------------------------------------

def test_a_result_is_remembered_good_or_bad(house, verifying):
    for _ in range(3):
        house.check(b'bob', b'secret')
        house.fails(b'bob', b'hunter2')
    assert verifying.passwords == [b'secret', b'hunter2']


def test_a_result_is_remembered_for_its_user_alone(house, verifying):
    house.check(b'bob', b'secret')
    house.check(b'eve', b'secret')
    house.fails(b'bobs', b'ecret')
    assert len(verifying.passwords) == 3


def test_a_result_is_forgotten_in_time(house, verifying):
    house.logins.keep = 0.0
    house.check(b'bob', b'secret')
    gevent.sleep(0.02)                  # what is waited for is a tick of the coarsest clock
    house.check(b'bob', b'secret')
    assert verifying.passwords == [b'secret'] * 2


def test_the_cache_is_bounded_and_the_least_recently_used_goes(house, verifying, monkeypatch):
    monkeypatch.setattr(logins, 'CACHE_SIZE', 2)
    house.logins = logins.Logins(house.said.append)
    house.write(*[b'%s:' % name + SECRET for name in (b'a', b'b', b'c')])
    house.users = users.read(house.path)
    for name in (b'a', b'b', b'a', b'c', b'a', b'b'):
        house.check(name, b'secret')
    assert len(verifying.passwords) == 4


def test_no_password_is_kept(house):
    house.check(b'bob', b'secret')
    house.fails(b'bob', b'hunter2')
    kept = repr([vars(house.logins), vars(house.logins._failures)] + [
        cache._entries for cache in (house.logins._cache, house.logins._known, house.logins._failures._pairs)])
    assert len(house.logins._cache) == 2
    assert 'hunter2' not in kept and 'secret:' not in kept and "b'secret'" not in kept
    assert not house.logins._pending


# --- many at once ----------------------------------------------------------------------------------------------------

def test_many_equal_log_ins_at_once_cause_one_verification(house, verifying):
    verifying.close()
    asking = [house.spawn(b'bob', b'secret') for _ in range(3 * failures.VERIFYING)]
    verifying.open()
    assert set(each.get(timeout=10).name for each in asking) == {b'bob'}
    assert verifying.passwords == [b'secret']


def test_the_same_mistake_many_times_at_once_is_one_failure(house, verifying):
    verifying.close()
    asking = [house.spawn(b'bob', b'hunter2') for _ in range(10)]
    verifying.open()
    gevent.joinall(asking, timeout=10)
    assert [type(each.exception) for each in asking] == [errors.LoginFailed] * 10
    assert house.logins._failures.delay(CLIENT, b'bob') == 0


def test_each_caller_has_its_own_limit(house, verifying):
    verifying.close()
    patient = house.spawn(b'bob', b'secret')
    with pytest.raises(errors.LoginTimeout) as caught:
        house.check(b'bob', b'secret', CLIENT, SOON)
    assert str(caught.value) == "log-in as 'bob' not verified within 0.3 s ([timeouts] login)"
    verifying.open()
    assert patient.get(timeout=10).name == b'bob'
    assert verifying.passwords == [b'secret']


def test_when_the_first_gives_up_before_its_turn_the_next_one_takes_over(house, verifying):
    verifying.close()
    wrong = [b'%d' % number for number in range(logins.THREADS + 1)]       # gevent takes one more than it has threads
    busy = [house.spawn(b'bob', password) for password in wrong]
    first = house.spawn(b'eve', b'secret', CLIENT, SOON)
    second = house.spawn(b'eve', b'secret')
    gevent.joinall([first], timeout=10)
    assert isinstance(first.exception, errors.LoginTimeout)
    verifying.open()
    assert second.get(timeout=10).name == b'eve'
    gevent.joinall(busy, timeout=10)
    assert sorted(verifying.passwords) == wrong + [b'secret']


@pytest.mark.programs
@pytest.mark.parametrize('kind, text', [
    ('bcrypt', b'$2y$09$FGCyJpkT6p4vJLbmJSBi8.9Y0jsGKpCZ2gRa8OoOsDVOMBQPhfwQS'),
    ('sha-crypt', b'$6$rounds=30000$a$' + b'x' * 86),
])
def test_fifty_log_ins_do_not_stall_the_hub(house, kind, text):
    if kind == 'bcrypt':
        pytest.importorskip('bcrypt')
    house.write(*[b'user%d:%s' % (number, text) for number in range(50)])
    house.users = users.read(house.path)
    ticks = []

    def tick():
        while True:
            gevent.sleep(0.001)
            ticks.append(1)
    ticking = gevent.spawn(tick)
    asking = [gevent.spawn(house.check, b'user%d' % number, b'hunter2', '10.1.0.%d' % number) for number in range(50)]
    gevent.joinall(asking, timeout=60)
    ticking.kill()
    assert [type(each.exception) for each in asking] == [errors.LoginFailed] * 50
    assert len(ticks) > 100             # 50, if the hub only ran between two of them


def test_a_client_that_has_failed_too_often_waits_and_no_other_does(house, hasty):
    for number in range(6):
        house.fails(b'bob', b'%d' % number)
    slow = house.spawn(b'bob', b'secret')
    assert house.check(b'eve', b'secret', NEIGHBOUR).name == b'eve'
    assert not slow.ready()
    assert slow.get(timeout=10).name == b'bob'


def test_a_mistake_repeated_is_slowed_down_too(house, hasty, verifying):
    for _ in range(5):
        house.fails(b'bob', b'hunter2')
    assert verifying.passwords == [b'hunter2']
    assert house.logins._failures.delay(CLIENT, b'bob') == 0.2


def test_success_makes_up_for_failures(house, hasty):
    for number in range(4):
        house.fails(b'bob', b'%d' % number)
    house.check(b'bob', b'secret')
    assert house.logins._failures.delay(CLIENT, b'bob') == 0


def test_a_log_in_known_to_be_good_is_not_delayed_and_clears_no_failures(house):
    house.check(b'bob', b'secret')
    for _ in range(20):
        house.logins._failures.add(CLIENT, b'bob')
    assert house.check(b'bob', b'secret', CLIENT, SOON).name == b'bob'
    assert house.logins._failures.delay(CLIENT, b'bob') == failures.MOST_DELAY


def test_a_guesser_locks_out_no_other_user_of_its_address(house, verifying, monkeypatch):
    monkeypatch.setattr(failures, 'MOST_DELAY', 60)
    # Nor the one whose name it is, if that has logged in from somewhere lately.
    house.logins.keep = -1.0            # nothing is remembered
    house.check(b'bob', b'secret', NEIGHBOUR)
    for _ in range(20):
        house.logins._failures.add(CLIENT, b'bob')
    guessing = [house.spawn(b'bob', b'%d' % number) for number in range(failures.WAITING)]
    with pytest.raises(errors.LoginsThrottled):
        house.check(b'bob', b'hunter2')
    assert house.check(b'eve', b'secret').name == b'eve'
    assert house.check(b'bob', b'secret', limit=TimeLimit('login', 10, errors.LoginTimeout)).name == b'bob'
    assert verifying.passwords == [b'secret'] * 3       # none of the guesses had its turn yet
    gevent.killall(guessing)


def test_a_changed_password_is_none_that_was_good_lately(house):
    house.check(b'bob', b'secret')
    house.write(b'bob:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=')
    house.users = users.read(house.path)
    for _ in range(20):
        house.logins._failures.add(CLIENT, b'bob')
    slow = house.spawn(b'bob', b'secret')
    assert not slow.ready() and house.logins._failures._under_way
    slow.kill()


def test_a_right_password_works_after_a_delay_while_a_guesser_tries_many_names(house, hasty, monkeypatch):
    for number in range(failures.FREE_OF_CLIENT + 20):
        house.logins._failures.add(CLIENT, b'%d' % number)
    assert house.logins._failures.delay(CLIENT, b'eve') == 0.2
    assert house.check(b'eve', b'secret').name == b'eve'
    monkeypatch.setattr(failures, 'MOST_DELAY', 60)
    monkeypatch.setattr(failures, 'FIRST_DELAY', 60)
    guessing = [house.spawn(b'nobody%d' % number, b'y') for number in range(failures.WAITING_OF_CLIENT)]
    with pytest.raises(errors.LoginsThrottled) as caught:
        house.check(b'nobody', b'x')
    assert str(caught.value) == '16 log-ins from your address are under way already, after others failed'
    gevent.killall(guessing)


def test_clients_take_turns(house, verifying):
    verifying.close()
    crowd = [house.spawn(b'user%d' % number, b'guess') for number in range(logins.THREADS + 20)]
    alone = house.spawn(b'eve', b'secret', NEIGHBOUR)
    verifying.open()
    assert alone.get(timeout=10).name == b'eve'
    gevent.joinall(crowd, timeout=60)
    assert verifying.passwords.index(b'secret') <= logins.THREADS + 1
    assert len(verifying.passwords) == len(crowd) + 1 and not house.logins._running


def test_a_log_in_that_no_request_waits_for_any_more_is_not_verified(house, verifying):
    verifying.close()
    busy = [house.spawn(b'user%d' % number, b'guess') for number in range(logins.THREADS)]
    waiting = [house.spawn(b'eve', b'%d' % number, NEIGHBOUR) for number in range(5)]
    gevent.killall(waiting)
    verifying.open()
    gevent.joinall(busy, timeout=10)
    assert verifying.passwords == [b'guess'] * logins.THREADS
    assert not house.logins._pending and not house.logins._turns._queues


def test_a_verification_that_breaks_holds_up_no_other(house, monkeypatch):
    def broken(_secret, _password, _pause):
        raise RuntimeError('broken')
    with monkeypatch.context() as patched:
        patched.setattr(hashes, 'verify', broken)
        for _ in range(logins.THREADS + 1):
            with pytest.raises(RuntimeError):
                house.check(b'bob', b'secret')
    assert house.check(b'bob', b'secret', limit=TimeLimit('login', 10, errors.LoginTimeout)).name == b'bob'


def test_a_password_that_bcrypt_would_cut_gets_a_hint_with_any_name(house):
    pytest.importorskip('bcrypt')
    house.write(b'bob:$2y$04$xdJfFGhbY7gPKurR1zDXtO7PxXI4Pmp0znTV6dSsNiqyE3bZWOR7y', b'eve:' + SECRET)
    house.users = users.read(house.path)
    for name in (b'bob', b'eve', b'nobody'):
        with pytest.raises(errors.LoginFailed) as caught:
            house.check(name, b'x' * 73)
        assert '72 octets' in caught.value.hint
        with pytest.raises(errors.LoginFailed) as caught:
            house.check(name, b'x' * 72)
        assert '72 octets' not in caught.value.hint


def test_a_limit_shorter_than_the_delay_locks_no_user_out(house):
    for _ in range(20):
        house.logins._failures.add(CLIENT, b'bob')
    limit = TimeLimit('login', 2, errors.LoginTimeout)
    assert limit.seconds < house.logins._failures.delay(CLIENT, b'bob')
    assert house.check(b'bob', b'secret', CLIENT, limit).name == b'bob'


def test_more_than_a_few_that_wait_are_turned_away_at_once(house, verifying):
    for _ in range(5):
        house.logins._failures.add(CLIENT, b'bob')
    waiting = [house.spawn(b'bob', b'%d' % number) for number in range(failures.WAITING)]
    with pytest.raises(errors.LoginsThrottled) as caught:
        house.check(b'bob', b'hunter2')
    assert str(caught.value) == '4 log-ins with this name from your address are under way already, after others failed'
    assert caught.value.retry_after == 2
    assert verifying.passwords == []
    assert house.check(b'eve', b'secret', NEIGHBOUR).name == b'eve'
    gevent.killall(waiting)
    assert not house.logins._failures._under_way


def test_no_address_guesses_without_end_before_the_first_guess_has_failed(house, verifying):
    verifying.close()
    waiting = [house.spawn(b'bob', b'%d' % number) for number in range(failures.VERIFYING)]
    with pytest.raises(errors.LoginsThrottled) as caught:
        house.check(b'bob', b'hunter2')
    assert caught.value.retry_after == 1
    verifying.open()
    gevent.joinall(waiting, timeout=60)
    assert not house.logins._failures._under_way


# --- the files -------------------------------------------------------------------------------------------------------

def test_a_changed_file_is_read_again(house):
    house.check(b'bob', b'secret')
    house.write(b'ann:' + SECRET)
    house.refresh(1)
    assert house.said == [house.path + ' reread: 1 users']
    assert house.check(b'ann', b'secret').name == b'ann'
    house.fails(b'bob', b'secret')


def test_a_changed_password_ends_remembered_log_ins(house):
    house.check(b'bob', b'secret')
    house.write(b'bob:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=')
    house.refresh(1)
    house.fails(b'bob', b'secret')
    assert house.check(b'bob', b'').name == b'bob'


def test_a_reload_forgets_nothing(house, verifying):
    house.check(b'bob', b'secret')
    house.users = users.read(house.path)
    house.check(b'bob', b'secret')
    assert verifying.passwords == [b'secret']


def test_a_bad_file_changes_nothing_and_is_told_once(house):
    house.write(b'ann:hunter2')
    house.refresh(1)
    for _ in range(3):
        house.look()
        gevent.sleep(0.02)
    os.remove(house.path)
    house.refresh(2)
    assert house.said == ['the users stay as they were, for what is wrong in their files:\n%s%s' % (house.path, what)
                          for what in (":1: user 'ann' has a password in plain text, or a hash of unknown kind: make a hash with openssl passwd -6",
                                       ': cannot be read: No such file or directory (this file is set in [auth] users)')]
    assert house.check(b'bob', b'secret', limit=TimeLimit('login', 10, errors.LoginTimeout)).name == b'bob'
    house.write(b'ann:' + SECRET)
    house.refresh(3)
    assert house.said[2] == house.path + ' reread: 1 users'


def test_a_reload_while_the_file_is_read_wins(house):
    house.write(b'ann:' + SECRET)
    house.look()
    house.users = users.NOBODY
    with gevent.Timeout(10):
        while house.logins._look:
            gevent.sleep(0.01)
    assert house.said == []
    house.fails(b'ann', b'secret')


@pytest.fixture
def hanging(house):
    """What reads the users' file, a pipe now, hangs until the test is over; the function puts a file in its place."""
    pipe = house.path + '.pipe'
    os.mkfifo(pipe)
    os.rename(pipe, house.path)
    os.link(house.path, pipe)
    yield lambda *lines: house.write(*lines)
    while house.logins._look or not all(result.ready() for result in house.logins._files._given_up):
        try:
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            pass                    # the thread has not opened it yet
        gevent.sleep(0.01)


def test_a_file_that_cannot_be_read_is_told_once_and_read_anew_later(house, hanging, monkeypatch):
    monkeypatch.setattr(logins, 'SLOW_FILES', 0.05)
    house.refresh(1)
    house.look()
    assert house.said == [
        'the users stay as they were: %s could not be read within 0 s; it is tried again' % house.path]
    hanging(b'ann:' + SECRET)
    house.look()
    assert len(house.said) == 1
    monkeypatch.setattr(logins, 'FILES_PATIENCE', 0.05)
    house.refresh(2)
    assert house.said[1] == house.path + ' reread: 1 users'
    assert house.check(b'ann', b'secret').name == b'ann'


def test_a_file_that_hangs_does_not_keep_one_that_a_reload_names_from_being_read(house, hanging):
    house.look()
    hung, house.path = house.path, house.path + '.other'
    house.write(b'ann:' + SECRET)
    house.users = users.read(house.path)
    house.write(b'ann:' + SECRET, b'eve:' + OTHER)
    house.refresh(1)
    assert house.said == [house.path + ' reread: 2 users']
    house.path = hung


def test_a_few_threads_at_most_hang_on_a_file(house, hanging, monkeypatch):
    monkeypatch.setattr(logins, 'FILES_PATIENCE', -1)
    for _ in range(2 * background.MOST_STUCK):
        house.look()
    assert len(house.logins._files._given_up) == background.MOST_STUCK


def test_without_files_there_is_nothing_to_read_again():
    found = logins.Logins(lambda text: None)
    found.refresh(None, lambda old, fresh: True)
    assert found._look is None

"""Names to addresses. The look-ups of the host are replaced by functions that block native threads, as real ones do."""
from __future__ import absolute_import, division, print_function

import socket

import gevent
import pytest
from helpers import PATIENCE

from geproxy import errors
from geproxy.compat import monotonic, native_lock, native_sleep
from geproxy.net.deadlines import TimeLimit
from geproxy.upstream import resolver

SOON = TimeLimit('dns', 0.3, errors.DnsTimeout)
LATER = TimeLimit('dns', 10 * PATIENCE, errors.DnsTimeout)      # longer than any test here


class Names(object):
    """Answers look-ups in native threads; those of names that begin with `dead` hang until `release`."""

    def __init__(self):
        self.asked = []
        self._gate = native_lock()
        self._gate.acquire()

    def __call__(self, host):
        self.asked.append(host)
        if host.startswith('dead'):
            self._gate.acquire()        # blocks the native thread, as a dead name server does
            self._gate.release()
        if host.startswith('none'):
            raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
        return ['10.0.0.1', '10.0.0.2', 'fd00::1']

    def release(self):
        """Let the hanging look-ups go."""
        if self._gate.locked():
            self._gate.release()


@pytest.fixture
def names():
    names = Names()
    yield names
    names.release()


def test_literal_addresses_are_never_asked_for(names):
    found = resolver.Resolver(ask=names)
    assert found.resolve(b'127.0.0.1', SOON) == ['127.0.0.1'] and found.resolve(b'::1', SOON) == ['::1']
    assert names.asked == []


@pytest.mark.parametrize('host', [b'2130706433', b'0x7f.1', b'127.1'])
def test_a_name_that_only_looks_like_an_address_is_looked_up_by_the_host(host):
    assert resolver.Resolver().resolve(host, LATER) == ['127.0.0.1']


def test_an_answer_is_kept_for_a_while(names):
    found = resolver.Resolver(keep=0.2, ask=names)
    assert found.resolve(b'a.test', LATER) == ['10.0.0.1', 'fd00::1', '10.0.0.2']
    found.resolve(b'a.test', LATER)
    assert names.asked == ['a.test']
    gevent.sleep(0.25)                  # what is waited for is the end of `keep`
    found.resolve(b'a.test', LATER)
    assert names.asked == ['a.test'] * 2


def test_a_failure_is_kept_too(names):
    found = resolver.Resolver(ask=names)
    for _ in range(2):
        with pytest.raises(errors.DnsError) as caught:
            found.resolve(b'none.test', LATER)
        assert "'none.test' does not resolve: Name or service not known" in str(caught.value)
    assert names.asked == ['none.test']


def test_many_requests_at_once_cause_one_look_up(names):
    found = resolver.Resolver(ask=names)
    asking = [gevent.spawn(found.resolve, b'a.test', LATER) for _ in range(20)]
    assert [each.get(timeout=PATIENCE)[0] for each in asking] == ['10.0.0.1'] * 20
    assert names.asked == ['a.test'] and found.asked == 1


def test_each_caller_has_its_own_deadline(names):
    found = resolver.Resolver(ask=names)
    patient = gevent.spawn(found.resolve, b'dead.test', LATER)
    gevent.sleep(0)
    with pytest.raises(errors.DnsTimeout) as caught:
        found.resolve(b'dead.test', SOON)
    assert "no answer about 'dead.test' within 0.3 s ([timeouts] dns)" == str(caught.value)
    names.release()
    assert patient.get(timeout=PATIENCE)[0] == '10.0.0.1'
    assert names.asked == ['dead.test']


def test_an_answer_that_came_while_nothing_ran_came_in_time(names):
    found = resolver.Resolver(ask=names)
    patient = gevent.spawn(found.resolve, b'dead.test', SOON)
    gevent.sleep(0.05)
    names.release()
    native_sleep(SOON.seconds + resolver.OVERSLEPT + 0.2)       # the hub, that is, as behind a SIGSTOP
    assert patient.get(timeout=PATIENCE)[0] == '10.0.0.1'


def test_fifty_dead_names_do_not_slow_a_good_one(names):
    found = resolver.Resolver(ask=names)
    dead = [gevent.spawn(found.resolve, b'dead%d.test' % number, LATER) for number in range(50)]
    gevent.sleep(0)                     # so that all are under way
    assert found.resolve(b'good.test', TimeLimit('dns', PATIENCE, errors.DnsTimeout))[0] == '10.0.0.1'
    assert found.pending == 50          # none of them had to end for it
    names.release()
    gevent.joinall(dead, timeout=PATIENCE)


def test_when_all_threads_hang_the_deadline_still_holds(names):
    found = resolver.Resolver(ask=names)
    dead = [gevent.spawn(found.resolve, b'dead%d.test' % number, LATER) for number in range(resolver.THREADS)]
    with gevent.Timeout(PATIENCE):
        while found.pending < resolver.THREADS:     # on a busy machine the greenlets begin later than a timer ends
            gevent.sleep(0.01)
    with pytest.raises(errors.DnsTimeout):
        found.resolve(b'good.test', SOON)
    names.release()
    gevent.joinall(dead, timeout=PATIENCE)
    assert found.resolve(b'good.test', LATER)[0] == '10.0.0.1'


@pytest.mark.parametrize('host', [b'a' * 64, b'a.' + b'b' * 64 + b'.c', b'a' * 64 + b'.'])
def test_a_name_that_cannot_be_one_is_not_asked_for(names, host):
    with pytest.raises(errors.DnsError):
        resolver.Resolver(ask=names).resolve(host, SOON)
    assert names.asked == []


@pytest.mark.parametrize('addresses, mixed', [
    ([], []), (['1', '2'], ['1', '2']), (['a:', 'b:', '1'], ['a:', '1', 'b:']), (['1', '2', 'a:', '1'], ['1', 'a:', '2']),
])
def test_families_take_turns_in_the_order_of_the_first(addresses, mixed):
    assert resolver.interleave(addresses) == mixed


def test_the_cache_is_bounded_and_the_least_recently_used_goes(names, monkeypatch):
    monkeypatch.setattr(resolver, 'CACHE_SIZE', 2)
    found = resolver.Resolver(ask=names)
    for host in (b'a', b'b', b'a', b'c', b'a', b'b'):
        found.resolve(host, LATER)
    assert names.asked == ['a', 'b', 'c', 'b']


def test_localhost_with_a_last_dot_is_no_question_for_name_servers(names):
    resolver.Resolver(ask=names).resolve(b'localhost.', LATER)
    assert names.asked == ['localhost']


# --- a fair share for each client ----------------------------------------------------------------------------------

class Gates(object):
    """Answers look-ups in native threads, each only once it is let go: so a test decides what is under way."""

    def __init__(self):
        self.begun = []
        self.locks = {}

    def __call__(self, host):
        lock = self.locks.setdefault(host, native_lock())
        lock.acquire()
        self.begun.append(host)
        lock.acquire()                  # until `let_go`
        return ['10.0.0.1']

    def let_go(self, *hosts):
        """Have these answered."""
        for host in hosts:
            self.locks[host].release()

    def wait(self, count):
        """Wait until that many look-ups have begun, in all."""
        with gevent.Timeout(10):
            while len(self.begun) < count:
                gevent.sleep(0.005)


@pytest.fixture
def gates():
    gates = Gates()
    yield gates
    for lock in gates.locks.values():
        if lock.locked():
            lock.release()


def asking(found, client, *hosts):
    """Ask for each of these, in greenlets."""
    started = [gevent.spawn(found.resolve, host.encode('ascii'), LATER, client) for host in hosts]
    gevent.sleep(0)
    return started


def named(client, count):
    return ['%s%d.test' % (client, number) for number in range(count)]


def test_a_client_takes_no_more_threads_than_it_leaves_free(gates, monkeypatch):
    monkeypatch.setattr(resolver, 'THREADS', 8)
    found = resolver.Resolver(ask=gates)
    greedy = asking(found, 'greedy', *named('greedy', 20))
    gates.wait(4)
    # Another one gets its threads at once, and so does a third, which is left one.
    other = asking(found, 'other', 'good.test')
    gates.wait(5)
    assert gates.begun[4] == 'good.test'
    third = asking(found, 'third', 'also-good.test')
    gates.wait(6)
    assert gates.begun[5] == 'also-good.test'
    gates.let_go('good.test', 'also-good.test')
    gevent.joinall(other + third, timeout=PATIENCE)
    assert sorted(gates.begun[:4]) == named('greedy', 4) and len(gates.begun) == 6
    gates.let_go(*named('greedy', 4))
    gates.wait(10)
    gevent.killall(greedy)


def test_clients_that_wait_are_served_in_turn(gates, monkeypatch):
    monkeypatch.setattr(resolver, 'THREADS', 1)
    found = resolver.Resolver(ask=gates)
    waiting = asking(found, 'first', *named('first', 4)) + asking(found, 'second', *named('second', 2))
    waiting += asking(found, 'third', 'third0.test')
    expected = ['first0', 'first1', 'second0', 'third0', 'first2', 'second1', 'first3']
    for count, name in enumerate(expected, 1):
        gates.wait(count)
        gates.let_go(name + '.test')
    gevent.joinall(waiting, timeout=PATIENCE)
    assert gates.begun == [name + '.test' for name in expected]


def test_a_look_up_without_a_waiting_request_never_begins(gates, monkeypatch):
    monkeypatch.setattr(resolver, 'THREADS', 1)
    found = resolver.Resolver(ask=gates)
    first = asking(found, '', 'first.test')
    gates.wait(1)
    left = asking(found, '', 'left.test') + asking(found, 'other', 'left.test')
    stays = asking(found, '', 'stays.test')
    assert found.pending == 3
    gevent.killall(left)
    assert found.pending == 2
    gevent.killall(first)               # it has begun, so what comes of it is remembered
    gates.let_go('first.test')
    gates.wait(2)
    gates.let_go('stays.test')
    gevent.joinall(stays, timeout=PATIENCE)
    assert found.resolve(b'first.test', LATER) == ['10.0.0.1']
    assert gates.begun == ['first.test', 'stays.test'] and not found.pending


def test_a_name_that_two_clients_wait_for_begins_with_the_first_turn_of_either(gates, monkeypatch):
    monkeypatch.setattr(resolver, 'THREADS', 1)
    found = resolver.Resolver(ask=gates)
    greedy = asking(found, 'greedy', 'busy.test', 'one.test', 'two.test', 'shared.test')
    gates.wait(1)
    other = asking(found, 'other', 'shared.test')
    gates.let_go('busy.test')
    gates.wait(2)
    gates.let_go('one.test')
    gates.wait(3)
    gates.let_go('shared.test')
    gevent.joinall(other, timeout=PATIENCE)
    assert gates.begun[:3] == ['busy.test', 'one.test', 'shared.test'] and found.asked == 4
    gates.wait(4)
    gates.let_go('two.test')
    gevent.joinall(greedy, timeout=PATIENCE)
    assert not found.pending


def test_names_that_wait_are_bounded_for_each_client_and_in_all(gates, monkeypatch):
    monkeypatch.setattr(resolver, 'THREADS', 1)
    monkeypatch.setattr(resolver, 'QUEUED_EACH', 2)
    monkeypatch.setattr(resolver, 'QUEUED', 3)
    found = resolver.Resolver(ask=gates)
    waiting = asking(found, 'first', *named('first', 3)) + asking(found, 'second', 'second0.test')
    with pytest.raises(errors.DnsFull) as caught:
        found.resolve(b'more.test', LATER, 'first')
    assert str(caught.value) == 'too many names wait to be looked up: 2 of this client, 3 of all'
    with pytest.raises(errors.DnsFull):
        found.resolve(b'more.test', LATER, 'second')
    waiting += asking(found, 'third', 'third0.test')        # a client that has none may have one
    # To wait for what another one has asked for takes a place, too; to wait once more for one's own does not.
    waiting += asking(found, 'second', 'second0.test')
    assert found.pending == 5 and not any(each.ready() for each in waiting)
    gevent.killall(waiting)
    assert found.pending == 1


def test_a_name_in_the_hosts_file_never_waits_for_the_network(gates, monkeypatch, tmpdir):
    hosts = tmpdir.join('hosts')
    hosts.write('# comment here.test\n10.0.0.1\tnear.test  Alias.test # not.test\n')
    monkeypatch.setattr(resolver, 'THREADS', 1)
    found = resolver.Resolver(ask=gates, hosts=str(hosts))
    waiting = asking(found, '', 'far.test', 'here.test', 'not.test')
    gates.wait(1)
    waiting += asking(found, '', 'alias.test')
    gates.wait(2)
    hosts.write('10.0.0.1 later.test, # and a comment\n10.0.0.1 later.test\n')
    waiting += asking(found, '', 'later.test')
    gates.wait(3)
    assert gates.begun == ['far.test', 'alias.test', 'later.test']
    gevent.killall(waiting)


@pytest.mark.parametrize('make', [lambda path: None, lambda path: path.write('x' * resolver.HOSTS_SIZE + ' near.test'),
                                  lambda path: path.mkdir()])
def test_without_a_hosts_file_of_a_sensible_size_all_names_are_alike(tmpdir, make):
    path = tmpdir.join('hosts')
    make(path)
    assert 'near.test' not in resolver.Hosts(str(path))


def test_a_name_has_sixteen_addresses_at_most_of_both_families():
    many = ['10.0.%d.%d' % (number // 250, number % 250) for number in range(3900)]
    few = ['fd00::%x' % number for number in range(40)]
    found = resolver.Resolver(ask=lambda host: many + few).resolve(b'many.test', LATER)
    assert len(found) == resolver.MOST and len([each for each in found if ':' in each]) == resolver.MOST // 2


# --- addresses that have failed ------------------------------------------------------------------------------------

@pytest.fixture
def moving():
    """(a Resolver, a list of the addresses that it will be told next)."""
    there = ['10.0.0.1', '10.0.0.2']

    def ask(host):
        if not there:
            raise socket.gaierror(socket.EAI_AGAIN, 'no')
        return list(there)
    return resolver.Resolver(ask=ask, keep_failed=0), there


def test_a_name_whose_addresses_fail_is_asked_for_once_more(moving):
    found, there = moving
    old = found.resolve(b'a.test', LATER)
    there[:] = ['10.0.0.2', '10.0.0.3']
    asking = [gevent.spawn(found.renew, b'a.test', old, monotonic(), LATER) for _ in range(5)]
    assert [each.get(timeout=PATIENCE) for each in asking] == [['10.0.0.3']] * 5
    assert found.asked == 2                         # once, however many fail at once
    assert found.renew(b'a.test', old, monotonic(), LATER) == ['10.0.0.3'] and found.asked == 2
    assert found.resolve(b'a.test', LATER) == ['10.0.0.2', '10.0.0.3']


def test_an_answer_that_is_not_old_is_not_asked_for_again(names):
    found, now = resolver.Resolver(ask=names), monotonic()
    assert found.renew(b'a.test', found.resolve(b'a.test', LATER), now, LATER) == []
    assert found.renew(b'127.0.0.1', found.resolve(b'127.0.0.1', LATER), now, LATER) == []
    assert names.asked == ['a.test']


def test_addresses_that_failed_are_kept_if_name_servers_know_no_better(moving):
    found, there = moving
    old = found.resolve(b'a.test', LATER)
    there[:] = []
    assert found.renew(b'a.test', old, monotonic(), LATER) == []
    assert found.resolve(b'a.test', LATER) is old


@pytest.mark.parametrize('now', [['10.0.0.3'], []])
def test_a_name_whose_new_addresses_fail_too_is_not_asked_for_with_each_request(moving, monkeypatch, now):
    monkeypatch.setattr(resolver, 'RENEWED', 1000)
    found, there = moving
    old = found.resolve(b'a.test', LATER)
    there[:] = now
    assert found.renew(b'a.test', old, monotonic(), LATER) == now and found.asked == 2
    there[:] = ['10.0.0.4']
    assert found.renew(b'a.test', found.resolve(b'a.test', LATER), monotonic(), LATER) == [] and found.asked == 2

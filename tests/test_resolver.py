"""Names to addresses. The look-ups of the host are replaced by functions that block native threads, as real ones do."""
from __future__ import absolute_import, division, print_function

import socket

import gevent
import pytest

from geproxy import errors, resolver
from geproxy.compat import monotonic, native_lock, native_sleep
from geproxy.deadlines import Limit

SOON = Limit('dns', 0.3, errors.DnsTimeout)
LATER = Limit('dns', 10, errors.DnsTimeout)


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
def test_what_only_looks_like_an_address_is_a_name_for_the_host_to_judge(host):
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


def test_many_who_ask_at_once_cause_one_look_up(names):
    found = resolver.Resolver(ask=names)
    asking = [gevent.spawn(found.resolve, b'a.test', LATER) for _ in range(20)]
    assert [each.get(timeout=10)[0] for each in asking] == ['10.0.0.1'] * 20
    assert names.asked == ['a.test'] and found.asked == 1


def test_each_caller_has_its_own_deadline(names):
    found = resolver.Resolver(ask=names)
    patient = gevent.spawn(found.resolve, b'dead.test', LATER)
    gevent.sleep(0)
    with pytest.raises(errors.DnsTimeout) as caught:
        found.resolve(b'dead.test', SOON)
    assert "no answer about 'dead.test' within 0.3 s ([timeouts] dns)" == str(caught.value)
    names.release()
    assert patient.get(timeout=10)[0] == '10.0.0.1'
    assert names.asked == ['dead.test']


def test_an_answer_that_came_while_nothing_ran_came_in_time(names):
    found = resolver.Resolver(ask=names)
    patient = gevent.spawn(found.resolve, b'dead.test', SOON)
    gevent.sleep(0.05)
    names.release()
    native_sleep(SOON.seconds + resolver.OVERSLEPT + 0.2)       # the hub, that is, as behind a SIGSTOP
    assert patient.get(timeout=10)[0] == '10.0.0.1'


def test_fifty_dead_names_do_not_slow_a_good_one(names):
    found = resolver.Resolver(ask=names)
    dead = [gevent.spawn(found.resolve, b'dead%d.test' % number, LATER) for number in range(50)]
    gevent.sleep(0.05)
    began = monotonic()
    assert found.resolve(b'good.test', LATER)[0] == '10.0.0.1'
    assert monotonic() - began < 0.5
    names.release()
    gevent.joinall(dead, timeout=10)


def test_when_all_threads_hang_the_deadline_still_holds(names):
    found = resolver.Resolver(ask=names)
    dead = [gevent.spawn(found.resolve, b'dead%d.test' % number, LATER) for number in range(resolver.THREADS)]
    gevent.sleep(0.05)
    with pytest.raises(errors.DnsTimeout):
        found.resolve(b'good.test', SOON)
    names.release()
    gevent.joinall(dead, timeout=10)
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

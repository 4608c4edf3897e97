"""What compat offers works the same way on all versions of Python and gevent."""
from __future__ import absolute_import, division, print_function

import os
import signal

import gevent
import pytest
from gevent.event import Event
from gevent.monkey import get_original

from geproxy import compat

PATIENCE = 10       # seconds


@pytest.mark.parametrize('octets, text', [
    (b'', ''),
    (b'GET http://a.example/?q=1', 'GET http://a.example/?q=1'),
    (b'\x00\r\n\x7f', '\x00\r\n\x7f'),
    (b'\x80\xff', '\\x80\\xff'),
    (b'Zo\xc3\xab', 'Zo\\xc3\\xab'),
])
def test_octets_become_native_text_of_ascii_only(octets, text):
    assert compat.to_native(octets) == text
    assert type(compat.to_native(octets)) is str


@pytest.mark.parametrize('text, octets', [
    ('', b''),
    ('abc', b'abc'),
    (b'\xff', b'\xff'),
    (u'abc', b'abc'),
    (u'Zo\xeb \u20ac', b'Zo\xc3\xab \xe2\x82\xac'),
])
def test_text_of_any_kind_becomes_octets(text, octets):
    assert compat.to_octets(text) == octets
    assert type(compat.to_octets(text)) is bytes


def test_the_clock_is_never_set_back():
    times = [compat.monotonic() for _ in range(1000)]
    assert times == sorted(times)
    assert isinstance(times[0], float)


@pytest.mark.parametrize('number', [0, 1, -1, 1 << 40, 1 << 80])
def test_integers_of_any_size_are_integers(number):
    assert isinstance(number, compat.INTEGERS)


@pytest.mark.parametrize('value', [1.0, '1', b'1', None])
def test_other_things_are_no_integers(value):
    assert not isinstance(value, compat.INTEGERS)


def test_a_native_thread_runs_while_the_hub_stands_still():
    reader, writer = os.pipe()
    try:
        compat.start_native_thread(lambda: os.write(writer, b'!'), ())
        ready = get_original('select', 'select')([reader], [], [], PATIENCE)[0]     # no greenlet can run meanwhile
        assert ready == [reader]
    finally:
        os.close(reader)
        os.close(writer)


def test_a_native_lock_and_a_native_sleep_do_not_let_greenlets_run():
    ran = []
    greenlet = gevent.spawn(ran.append, 1)
    lock = compat.native_lock()
    assert lock.acquire(False) and not lock.acquire(False)
    lock.release()
    compat.native_sleep(0)
    assert not ran
    greenlet.join()
    assert ran


def test_a_native_look_up_does_not_let_greenlets_run():
    ran = []
    greenlet = gevent.spawn(ran.append, 1)
    assert compat.native_getaddrinfo('127.0.0.1', 80)[0][4] == ('127.0.0.1', 80)
    assert not ran
    greenlet.join()


def test_a_signal_runs_its_handler_with_its_arguments():
    seen, happened = [], Event()

    def handle(*arguments):
        seen.extend(arguments)
        happened.set()
    handler = compat.signal_handler(signal.SIGUSR2, handle, 1, 2)
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert happened.wait(PATIENCE)
        assert seen == [1, 2]
    finally:
        handler.cancel()

"""Failed log-ins: how long the next attempt waits, whom that slows down, and when it is forgotten."""
from __future__ import absolute_import, division, print_function

import gevent

from geproxy.auth import failures


def test_the_delay_doubles_after_some_failures_up_to_a_bound():
    found, delays = failures.Failures(), []
    for _ in range(100):
        delays.append(found.delay('here', b'bob'))
        found.add('here', b'bob')
    assert delays[:9] == [0, 0, 0, 0.5, 1, 2, 4, 8, 8] and delays[-1] == 8
    assert found.delay('there', b'bob') == found.delay('here', b'eve') == 0
    found.forget('here', b'bob')
    assert found.delay('here', b'bob') == 0


def test_a_client_that_goes_through_many_names_is_slowed_down_but_far_later():
    found, delays = failures.Failures(), []
    for number in range(failures.FREE_OF_CLIENT + 50):
        delays.append(found.delay('here', b'bob'))
        found.add('here', b'%d' % number)
    assert delays[:failures.FREE_OF_CLIENT] == [0] * failures.FREE_OF_CLIENT
    assert delays[failures.FREE_OF_CLIENT::failures.STEP] == [0.5, 1, 2, 4, 8]
    found.forget('here', b'1')               # an account of the guesser's own makes up for nothing
    assert found.delay('here', b'bob') == 8 and found.delay('there', b'bob') == 0


def test_failures_are_forgotten_in_time(monkeypatch):
    monkeypatch.setattr(failures, 'MEMORY', 0.2)
    found = failures.Failures()
    for _ in range(4):
        found.add('here', b'bob')
    assert found.delay('here', b'bob') == 1
    gevent.sleep(0.25)                  # what is waited for is the end of MEMORY
    assert found.delay('here', b'bob') == 0
    found.add('here', b'bob')
    assert found.delay('here', b'bob') == 0


def test_the_table_of_failures_is_bounded(monkeypatch):
    monkeypatch.setattr(failures, 'REMEMBERED', 2)
    found = failures.Failures()
    for client in ('a', 'a', 'a', 'b', 'a', 'c'):
        found.add(client, b'bob')
    assert [client for client in 'abc' if (client, b'bob') in found._pairs] == ['a', 'c']
    assert [client for client in 'abc' if client in found._clients] == ['b', 'c']
    assert found.delay('a', b'bob') == 1

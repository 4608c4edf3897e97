"""The table of waits."""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.exchange.timeouts import ROWS, waits
from geproxy.settings import loading


def test_each_wait_lasts_as_long_as_its_option_says_and_names_it():
    timeouts = loading.load('test.ini', ['[timeouts]', 'head = 3', 'linger = 0.5']).timeouts
    made = waits(timeouts)
    assert made.head == ('head', 3, errors.HeadTimeout) and made.first == ('head', 3, errors.IdleTimeout)
    assert made.half_closed == ('linger', 0.5, errors.ClientLost)
    assert [limit.name for limit in made] == [row[1] for row in ROWS]
    assert [limit.seconds for limit in made] == [getattr(timeouts, limit.name) for limit in made]
    assert waits(timeouts._replace(linger=5)).discard.seconds == 1


def test_every_time_out_but_that_of_the_process_has_a_wait():
    options = set(loading.load('test.ini', []).timeouts._fields)
    assert options - set(row[1] for row in ROWS) == {'drain'}

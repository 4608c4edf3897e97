"""The table of waits."""
from __future__ import absolute_import, division, print_function

from geproxy import config, errors
from geproxy.waits import ROWS, waits


def test_each_wait_lasts_as_long_as_its_option_says_and_names_it():
    timeouts = config.load('test.ini', ['[timeouts]', 'head = 3', 'linger = 0.5']).timeouts
    made = waits(timeouts)
    assert made.head == ('head', 3, errors.HeadTimeout) and made.first == ('head', 3, errors.IdleTimeout)
    assert made.half_closed == ('linger', 0.5, errors.ClientLost)
    assert [limit.name for limit in made] == [row[1] for row in ROWS]
    assert [limit.seconds for limit in made] == [getattr(timeouts, limit.name) for limit in made]


def test_every_time_out_is_waited_for_but_that_of_the_process():
    options = set(config.load('test.ini', []).timeouts._fields)
    assert options - set(row[1] for row in ROWS) == {'drain'}

"""Requests and octets per second, connections per client: the arithmetic, as tables of times."""
from __future__ import absolute_import, division, print_function

import gc
import re

import pytest

from geproxy import errors
from geproxy.limits import rates
from geproxy.limits.rates import Bucket, Consumption, Meter, Pace, Table
from geproxy.net import stream

MIB = 1024 * 1024


@pytest.mark.parametrize('user, client, key', [
    (None, '10.0.0.1', '10.0.0.1'),
    (None, '2001:db8::1', '2001:db8::/64'),
    (b'joe', '10.0.0.1', 'user:joe'),
    (b'', '10.0.0.1', 'user:'),
    (b'10.0.0.1', '10.0.0.2', 'user:10.0.0.1'),
    (b'a b\n%\xc3\xa9', '10.0.0.1', 'user:a%20b%0A%25%C3%A9'),
    (b'a%20b', '10.0.0.1', 'user:a%2520b'),
])
def test_a_key_is_a_user_or_else_a_client_and_no_two_are_alike(user, client, key):
    assert rates.key_of(user, client) == key
    assert re.match(r'[!-~]+\Z', key)


@pytest.mark.parametrize('count, text', [
    (0, '0'), (1, '1'), (1000, '1000'), (1024, '1k'), (1536, '1536'), (MIB, '1m'), (3 * 1024 * MIB, '3g'),
])
def test_octets_are_shown_as_the_ini_file_has_them(count, text):
    assert rates.show_octets(count) == text


@pytest.mark.parametrize('rate, burst, times, waits', [
    (1.0, 1, [0, 0, 0.5, 1, 1], [0, 1, 0.5, 0, 1]),
    (1.0, 3, [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 1]),
    (10.0, 2, [0, 0, 0, 0.1, 0.1], [0, 0, 0.1, 0, 0.1]),
    (0.1, 1, [0, 1, 9.9, 10, 10], [0, 9, 0.1, 0, 10]),
    (2.0, 0, [0, 0, 0.5], [0, 0.5, 0]),                     # no burst means one
    (1.0, 2, [0, 0, 1000, 1000, 1000], [0, 0, 0, 0, 1]),    # an idle time fills it, and not more
    (3.0, 3, [0, 0, 0, 1 / 3, 2 / 3, 1.0, 1.0], [0, 0, 0, 0, 0, 0, 1 / 3]),
])
def test_a_bucket_gives_its_tokens_and_says_when_the_next_comes(rate, burst, times, waits):
    bucket = Bucket()
    assert [bucket.take(rate, burst, 1e6 + now) for now in times] == [
        pytest.approx(wait, abs=1e-6) for wait in waits]


def test_a_bucket_lets_the_rate_through_however_often_it_is_asked():
    bucket = Bucket()
    assert sum(not bucket.take(50.0, 10, tick / 1000.0) for tick in range(10000)) == pytest.approx(509, abs=1)


def test_a_client_over_its_rate_gets_the_figure_the_option_and_retry_after():
    shared = Consumption()
    for _ in range(2):
        shared.check_request('user:joe', 0.5, 2, 100.0)
    with pytest.raises(errors.TooManyRequests) as caught:
        shared.check_request('user:joe', 0.5, 2, 100.5)
    assert str(caught.value) == 'user joe sends more than 0.5 requests per second ([limits] requests)'
    assert caught.value.retry_after == 2
    shared.check_request('10.0.0.1', 0.5, 2, 100.5)
    shared.check_request('user:joe', 0.5, 2, 102.0)


def test_a_client_has_so_many_connections_and_no_more():
    shared = Consumption()
    for _ in range(2):
        shared.enter('10.0.0.1', 2)
    with pytest.raises(errors.ClientFull) as caught:
        shared.enter('10.0.0.1', 2)
    assert str(caught.value) == 'client 10.0.0.1 has 2 connections already ([limits] per_client)'
    assert caught.value.retry_after == 1
    shared.enter('10.0.0.2', 2)
    shared.leave('10.0.0.1')
    shared.enter('10.0.0.1', 2)
    shared.enter('10.0.0.1', None)      # a reload that lifts the limit counts on
    for client in ('10.0.0.1', '10.0.0.1', '10.0.0.1', '10.0.0.2'):
        shared.leave(client)
    assert shared._connections == {}


# --- tables

def test_a_table_keeps_those_that_were_asked_for_last():
    table = Table(Bucket, 3)
    first = [table.get(key, 0) for key in 'abc']
    assert table.get('a', 1) is first[0]
    table.get('d', 2)
    assert len(table) == 3 and sorted(table._kept) == ['a', 'c', 'd']


def test_a_table_forgets_keys_that_were_not_used_for_long():
    table = Table(Bucket)
    for number in range(10):
        table.get(number, 0.0)
    for number in range(5):
        table.get('new', rates.FORGET + 1 + number)
    assert list(table._kept) == ['new']


def test_a_table_does_not_forget_values_in_use():
    table = Table(Bucket, 2)
    held = table.get('tunnel', 0)
    for number in range(100):
        table.get(number, 0)
    gc.collect()
    assert 'tunnel' not in table._kept and table.get('tunnel', 0) is held
    assert len(table) == 2 and len(table._used) == 2


def test_requests_of_ever_new_clients_are_remembered_up_to_a_bound():
    shared = Consumption()
    for number in range(rates.KEYS + 100):
        shared.check_request('%d' % number, 1.0, 1, 0.0)
    gc.collect()
    assert len(shared._buckets) == len(shared._buckets._used) == rates.KEYS


# --- octets per second

def test_pieces_are_as_the_stream_reads_them():
    assert rates.MOST_PIECE == stream.SCRATCH_SIZE


@pytest.mark.parametrize('rate, takes, starts', [
    # (time, octets) -> when they may go
    (1000, [(10, 100), (10, 100), (10, 100), (10, 1000), (10, 1)], [10, 10.1, 10.2, 10.3, 11.3]),
    (1000, [(10, 100), (10.05, 100), (10.3, 100), (10.3, 100)], [10, 10.1, 10.2, 10.3]),       # late: made up for
    (1000, [(10, 100), (99, 100), (99, 100), (99, 100)], [10, 99, 99.1, 99.2]),                 # idle: not
    (1000, [(10, 10), (10.1, 10), (10.2, 10), (10.3, 10), (10.3, 200), (10.3, 10)],             # a little, always
     [10, 10.01, 10.02, 10.1, 10.11, 10.31]),
    (1e6, [(10, 100000), (10, 100000), (10, 0), (10, 500000), (10.7, 1)], [10, 10.1, 10.2, 10.2, 10.7]),
])
def test_a_meter_gives_places_in_its_queue_and_an_idle_time_builds_up_no_burst(rate, takes, starts):
    meter = Meter()
    assert [meter.take('a', count, rate, now) for now, count in takes] == [pytest.approx(start) for start in starts]


@pytest.mark.parametrize('rate, others, piece', [
    (1000000, 0, 50000), (1000000, 1, 25000), (1000000, 19, 2500), (1000000, 999, 1024),
    (10, 0, 1024), (50 * MIB, 0, 256 * 1024), (50 * MIB, 19, 131072),
])
def test_a_piece_is_a_twentieth_of_a_second_for_all_exchanges_together(rate, others, piece):
    meter = Meter()
    for number in range(1 + others):
        meter.take(number, 1, rate, 0.0)
    assert meter.piece(0, rate, 0.0) == meter.piece(0, rate, rates.SLACK / 2) == piece
    assert meter.piece(0, rate, 1000.0) == min(rates.MOST_PIECE, max(1024, rate // 20))


def test_a_meter_forgets_exchanges_after_a_while():
    meter = Meter()
    for number in range(10000):
        meter.take(number, 1, 1e9, number / 1000.0)
    assert len(meter._turns) <= 201


def simulate(rates, seconds):
    """Flows that always have something, each behind meters of some rates ([[(Meter, rate)]]) -> octets of each."""
    paces = [Pace(shares, None) for shares in rates]
    sent, turns = [0] * len(paces), [(0.0, number) for number in range(len(paces))]
    held = [0] * len(paces)
    while True:
        now, number = min(turns)
        if now > seconds:
            return sent
        sent[number] += held[number]
        held[number] = paces[number].piece(now)
        turns[number] = (max(now, paces[number].take(held[number], now)) + 1e-6, number)


@pytest.mark.parametrize('rate', [51200, 1000000, 50 * MIB])
@pytest.mark.parametrize('flows', [1, 4, 20])
def test_flows_that_share_a_rate_get_it_whole_and_in_equal_parts(rate, flows):
    meter = Meter()
    sent = simulate([[(meter, rate)]] * flows, 10.0)
    assert sum(sent) == pytest.approx(10 * rate, rel=0.03)
    # The first to come have one or two pieces ahead of the others, from before they had to share.
    assert max(sent) - min(sent) < 0.02 * min(sent) + 2 * Meter().piece('a', rate, 0.0)


def test_the_slower_of_two_meters_decides():
    wide, narrow = Meter(), Meter()
    sent = simulate([[(wide, 1000000), (narrow, 100000)]] + [[(wide, 1000000)]], 10.0)
    assert sent[0] == pytest.approx(1000000, rel=0.05)
    assert sent[0] + sent[1] == pytest.approx(10000000, rel=0.05)


def test_only_a_limited_exchange_has_a_pace():
    shared = Consumption()
    assert shared.paces([], None, 0.0) == shared.paces([('10.0.0.1', None)], None, 0.0) == (None, None)
    up, down = shared.paces([('10.0.0.1', 1000), ('rules.ini:7', None)], None, 0.0)
    assert [up.take(1000, 10.0), down.take(1000, 10.0), up.take(1, 10.0)] == [10.0, 10.0, pytest.approx(11.0)]
    again, _down = shared.paces([('10.0.0.1', 1000)], None, 10.0)       # another exchange of the same client
    assert again.take(1, 10.0) == pytest.approx(11.001) and again.until == pytest.approx(11.001)


def test_a_pace_charges_octets_before_it_takes_them():
    counted, meter = [], Meter()

    def charge(octets):
        if sum(counted) >= 100:
            raise errors.QuotaExceeded('enough', 60)
        counted.append(octets)
    pace = Pace([(meter, 1000)], charge)
    for _ in range(2):
        pace.take(60, 10.0)
    with pytest.raises(errors.QuotaExceeded):
        pace.take(60, 10.0)
    assert counted == [60, 60] and meter.take('a', 0, 1000, 10.0) == pytest.approx(10.12)
    assert Pace([], charge).piece(10.0) == rates.MOST_PIECE

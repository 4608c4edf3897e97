"""top, as a command of real processes, and the counts behind it."""
from __future__ import absolute_import, division, print_function

import re
import signal

from helpers import listening
from processes import GEPROXY, Client, answering, folder, get, own, process, running
from test_admin_commands import ADMIN, two
from test_terminal import on_a_terminal

from geproxy.commands import top


def test_the_host_with_the_most_traffic_is_first():
    with two() as (proxies, where), listening(answering(b'x' * 20000)) as origin:
        with process(GEPROXY + ['top', '--once', '--by', 'host', '--for', '2s'] + where) as shown:
            with Client(proxies[0].address) as one, Client(proxies[1].address) as other:
                while shown.popen.poll() is None:
                    one.ask(get(origin))
                    other.ask(own(b'http://small.test/'))
            assert shown.wait() == 0 and shown.err == b''
            lines = shown.out.decode('ascii').splitlines()
            assert lines[0].split() == ['NOW', 'REQUESTS', 'OCTETS', 'OCTETS/S', 'HOST']
            assert [line.split()[-1] for line in lines[1:]] == ['127.0.0.1', 'small.test']
            assert int(lines[1].split()[1]) > 0


def test_q_ends_top_and_leaves_the_terminal_as_it_was():
    with running('[admin]\nlisten = unix:FOLDER/{pid}.sock\n') as proxy:
        code, shown = on_a_terminal(60, ['top', '--for', '200ms', '-c', proxy.path], (b'q ends it', b'q'))
    assert code == 0
    title = shown.rpartition(b'\x1b[2J')[2].split(b'\r\n')[0]
    assert re.match(br'geproxy top \(q ends it\), \d\d:\d\d:\d\d: 1 process, 0 connect', title) and len(title) <= 60


def test_top_waits_for_a_new_process_after_the_last_has_ended():
    with folder() as here:
        with running(ADMIN % here) as one:
            other = running(ADMIN % here)
            try:
                code, _shown = on_a_terminal(
                    80, ['top', '--for', '200ms', '-c', one.path], (b': 1 process, ', lambda: one.tell(signal.SIGTERM)),
                    (b': no process answers, waiting for the next; ', other.__enter__), (b': 1 process, ', b'q'))
            finally:
                other.__exit__(None, None, None)
        assert code == 0


def test_q_ends_top_while_there_is_no_process():
    with running('[admin]\nlisten = unix:FOLDER/{pid}.sock\n') as proxy:
        code, _shown = on_a_terminal(
            80, ['top', '--for', '200ms', '-c', proxy.path], (b': 1 process, ', lambda: proxy.tell(signal.SIGTERM)),
            (b': no process answers', b'q'))
    assert code == 0


def tallied(tally):
    """Return the rows that a Tally shows, without octets per second."""
    return [line.split()[:3] + line.split()[4:] for line in tally.view()[1:]]


def row(name, octets, user='joe'):
    """Return a connection, with an exchange of that id or, for None, without one."""
    return {'request': name, 'user': user, 'client': '10.0.0.1', 'url': None, 'received': octets, 'sent': 0}


def ending(name, octets, user='joe', seconds=0):
    """Return the event of the end of an exchange."""
    return {'id': name, 'user.name': user, 'http.request.bytes': octets, 'http.response.bytes': 0,
            'event.duration': seconds * 1e9}


def test_a_tally_counts_only_traffic_after_its_start():
    tally = top.Tally('user')
    tally.under_way([row('old', 10 ** 6), row(None, 0, None)], first=True)
    assert tallied(tally) == [['1', '0', '0', 'joe']]
    tally.under_way([row('old', 10 ** 6 + 100), row('new', 30)])
    assert tallied(tally) == [['2', '0', '130', 'joe']]
    tally.ended(ending('new', 50))                          # 20 more since it was seen
    tally.ended(ending('quick', 7))                         # never seen under way
    tally.ended(ending('before', 10 ** 6, seconds=60))      # began before, and how much was before is not known
    tally.under_way([row('old', 10 ** 6 + 100)])
    assert tallied(tally) == [['1', '3', '157', 'joe']]
    tally.ended(ending('old', 10 ** 6 + 101, seconds=60))
    tally.under_way([])
    assert tallied(tally) == [['0', '4', '158', 'joe']]


def test_a_tally_forgets_exchanges_whose_end_was_not_reported():
    tally = top.Tally('client')
    for number in range(5):
        tally.under_way([row('%d' % number, 10), row(None, 0)])
    assert len(tally._seen) == 2 and tallied(tally) == [['2', '0', '50', '10.0.0.1']]


def test_the_most_traffic_since_the_last_view_comes_first():
    tally = top.Tally('user')
    tally.ended(ending('a', 1000, 'early'))
    tally.view()
    tally.ended(ending('b', 10, 'now'))
    assert [line[-1] for line in tallied(tally)] == ['now', 'early']


def test_traffic_is_counted_by_route_if_there_are_routes():
    tally = top.Tally('route')
    tally.under_way([], first=True)
    tally.under_way([dict(row('a', 30), route='http://p:1'), dict(row('b', 5), route='direct'), dict(row(None, 0), route=None)])
    tally.ended(dict(ending('a', 50), route='http://p:1'))
    tally.ended(ending('refused', 7))
    assert tallied(tally) == [['1', '1', '50', 'http://p:1'], ['0', '1', '7', '-'], ['1', '0', '5', 'direct']]

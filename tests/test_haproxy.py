"""A real HAProxy, with the very text of conf/haproxy.cfg but for addresses and ports, in front of three geproxys.

HAPROXY=1 in the environment shows the figures of what clients saw.
"""
from __future__ import absolute_import, division, print_function

import collections
import contextlib
import json
import os
import re
import signal
import socket

import gevent
import pytest
from gevent.event import Event
from helpers import PATIENCE, ask, connect, listening, read_all, read_until
from processes import CHECKOUT, Process, folder, get, read, run, running, wait_until

from geproxy.compat import monotonic

CONF = os.path.join(CHECKOUT, 'conf', 'haproxy.cfg')
PROGRAM = '/usr/sbin/haproxy'
HELD = 12           # requests whose responses are under way at a time
BUSY = 8            # clients that ask all the time, each for one thing after another
INI = '''
allow_addresses = loopback
[proxy]
name = %s
proxy_protocol = 127.0.0.1
[log]
access = %s
format = json
'''
pytestmark = [pytest.mark.programs, pytest.mark.skipif(not os.path.exists(PROGRAM), reason='no haproxy')]

# What one client saw: when it began, what came, and which node's name stands in Via ('' if none).
Seen = collections.namedtuple('Seen', 'began ended body node')


class Origin(object):
    """Answers at once; /held: sends half of the body, and waits for `go` before it sends the rest. `held`: names of the
    nodes by which these came, from Via."""

    def __init__(self):
        self.held, self.go = [], Event()

    def __call__(self, sock):
        head = read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\nfine')
        if b'/held ' in head:
            self.held.append(via(head))
            assert self.go.wait(3 * PATIENCE)
        try:
            sock.sendall(b'fine')
        except socket.error:
            pass                        # its node was killed


def via(head):
    """The name of a node in a head, as native text."""
    match = re.search(br'(?m)^Via: 1\.1 (\w+)\r$', head)
    return match.group(1).decode('ascii') if match else ''


def conf(here, port, nodes):
    """The text of conf/haproxy.cfg for a test."""
    with open(CONF) as opened:
        text = opened.read()
    for number, (host, node_port) in enumerate(nodes, 1):
        text = text.replace('10.0.0.1%d:9000' % number, '%s:%d' % (host, node_port))
    text = text.replace(':::9000 v4v6', '127.0.0.1:%d' % port).replace('/run/haproxy', here)
    text = text.replace('maxconn 20000', 'maxconn 1000').replace('inter 2s', 'inter 200ms').replace('log /dev/log', 'log %s/nobody' % here)
    if os.getuid() != 0:
        text = re.sub(r'(?m)^ +(user|group) .*$', '', text)
    assert not re.search(r'(?m)^[^#\n]*(10\.0\.0|9000|/run/|/dev/)', text)
    return text


class Cluster(object):
    """Three nodes and their HAProxy at `address`."""

    def __init__(self, here, stack):
        self.here, self._stack = here, stack
        self.nodes, self.places = {}, []
        for number in (1, 2, 3):
            self.places.append(('127.0.0.1%d' % number, 0))
            self.start(number)
        with_port = socket.socket()
        with_port.bind(('127.0.0.1', 0))
        self.address = with_port.getsockname()
        with_port.close()
        path = os.path.join(here, 'haproxy.cfg')
        with open(path, 'w') as opened:
            opened.write(conf(here, self.address[1], self.places))
        self.haproxy = Process([PROGRAM, '-db', '-f', path])
        stack.append(self.haproxy.end)
        wait_until(lambda: self.states() == ['UP'] * 3, 'all nodes to be up')

    def start(self, number):
        """Start a node, at the port that it had if it had one."""
        host, port = self.places[number - 1]
        context = running(INI % ('node%d' % number, self.log(number)), listen='%s:%d' % (host, port))
        node = context.__enter__()
        self._stack.append(lambda: context.__exit__(None, None, None))
        self.nodes[number], self.places[number - 1] = node, (host, node.address[1])

    def log(self, number):
        """The path of a node's access log."""
        return os.path.join(self.here, 'access%d.log' % number)

    def records(self, number):
        """What stands in it."""
        return [json.loads(line.decode('ascii')) for line in read(self.log(number)).split(b'\n')[:-1]]

    def asked(self):
        """What clients asked for, of each node."""
        return [[record for record in self.records(number) if record['http.request.method'] == 'GET']
                for number in (1, 2, 3)]

    def states(self):
        """What HAProxy thinks of the nodes."""
        asked = socket.socket(socket.AF_UNIX)
        try:
            asked.connect(os.path.join(self.here, 'admin.sock'))
            asked.sendall(b'show stat\n')
            rows = [row.split(',') for row in read_all(asked).decode('ascii').splitlines()]
        except socket.error:
            return []
        finally:
            asked.close()
        return [row[17].split(' ')[0] for row in rows if row[0] == 'nodes' and row[1].startswith('node')]


@contextlib.contextmanager
def cluster():
    """A Cluster, ended behind the block."""
    stack = []
    with folder() as here:
        os.chmod(here, 0o755)           # HAProxy's user goes through it
        try:
            yield Cluster(here, stack)
        finally:
            for end in reversed(stack):
                end()


class Load(object):
    """Clients of a cluster that ask for something of an origin."""

    def __init__(self, address, place):
        self._address, self._place = address, place
        self.busy, self.held, self._over = [], [], False
        self._greenlets = []

    def __enter__(self):
        self._greenlets = [gevent.spawn(self._keep_asking, '127.0.0.%d' % (100 + number)) for number in range(BUSY)]
        return self

    def __exit__(self, *_):
        self._over = True
        gevent.joinall(self._greenlets, timeout=PATIENCE)
        gevent.killall(self._greenlets)

    def _keep_asking(self, client):
        while not self._over:
            self.busy.append(self.seen(b'/', client))

    def seen(self, path, client=None):
        """Ask once -> what was seen."""
        began, shown = monotonic(), b''
        try:
            sock = connect(self._address, client)
            try:
                sock.settimeout(3 * PATIENCE)
                sock.sendall(get(self._place, path, b'Connection: close\r\n'))
                shown = read_all(sock)
            finally:
                sock.close()
        except socket.error:
            pass
        head, _, body = shown.partition(b'\r\n\r\n')
        return Seen(began, monotonic(), body, via(head + b'\r\n'))

    def hold(self, origin, count=HELD):
        """Begin so many responses that wait in the middle; returns once they have begun."""
        wanted = len(origin.held) + count
        waiting = [gevent.spawn(lambda: self.held.append(self.seen(b'/held'))) for _ in range(count)]
        self._greenlets += waiting
        wait_until(lambda: len(origin.held) == wanted, 'all to be held')
        return waiting

    def good_ones(self, count, condition=lambda seen: True):
        """Wait for so many more that have succeeded, and of which that is true."""
        start = len(self.busy)
        wait_until(lambda: sum(good(seen) and condition(seen) for seen in self.busy[start:]) >= count,
                   '%d good answers' % count)


def good(seen):
    return seen.body == b'finefine'


def figures(what, *numbers):
    """Show them to who wants to see them."""
    if os.environ.get('HAPROXY'):
        with open(os.environ['HAPROXY'], 'a') as shown:
            shown.write('%s: %s\n' % (what, ', '.join(numbers)))


def test_haproxy_finds_nothing_wrong_with_its_file():
    checked = run([PROGRAM, '-c', '-f', CONF])
    if b"cannot find user id for 'haproxy'" in checked.err:
        pytest.skip('there is no user haproxy')
    assert (checked.popen.returncode, checked.err) == (0, b'')
    assert b'Configuration file is valid' in checked.out


def test_nodes_see_clients_and_refuse_forged_headers():
    origin = Origin()
    with listening(origin) as place, cluster() as three:
        clients = ['127.0.0.%d' % number for number in range(40, 70)]
        for client in clients:
            assert ask(three.address, get(place), client).endswith(b'\r\n\r\nfinefine')
        wait_until(lambda: sum(map(len, three.asked())) == len(clients), 'a line for each')
        asked = three.asked()
        assert sorted(record['client.ip'] for records in asked for record in records) == clients
        assert all(asked)                   # each has had some
        # Checks are HAProxy's own.
        assert set(record['client.ip'] for number in (1, 2, 3) for record in three.records(number)
                   if record['http.request.method'] == 'OPTIONS') == set(['127.0.0.1'])
        spoof = b'PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n' + get(place)
        assert ask(three.places[0], spoof, '127.0.0.99').startswith(b'HTTP/1.1 400 that is a PROXY header, ')
        assert ask(three.address, spoof, '127.0.0.99').startswith(b'HTTP/1.1 400 that is a PROXY header, ')
        assert ask(three.places[0], get(place), '127.0.0.1').startswith(b'HTTP/1.1 400 no PROXY header came ')


def test_a_node_that_is_killed_loses_what_was_in_flight_on_it_and_nothing_else():
    origin = Origin()
    with listening(origin) as place, cluster() as three, Load(three.address, place) as load:
        load.good_ones(50)
        load.hold(origin)
        on_it = origin.held.count('node2')
        assert 0 < on_it < HELD
        killed = three.nodes[2]
        killed.tell(signal.SIGKILL)
        killed.popen.wait()
        gone = monotonic()
        wait_until(lambda: len(load.held) == on_it, 'those on it to be told')
        wait_until(lambda: three.states() == ['UP', 'DOWN', 'UP'], 'HAProxy to see it')
        load.good_ones(50)
        origin.go.set()
        wait_until(lambda: len(load.held) == HELD, 'the others to end')
        # All that were on the others have ended well: so those that have not are those that were on it.
        assert sorted(seen.node for seen in load.held if good(seen)) == sorted(
            node for node in origin.held if node != 'node2')
        lost = [seen for seen in load.busy if not good(seen)]
        figures('kill -9', 'held %d, on it %d, lost %d' % (HELD, on_it, sum(not good(seen) for seen in load.held)),
                'short ones %d, lost %d' % (len(load.busy), len(lost)),
                'begun after it was gone and lost %d' % sum(seen.began > gone for seen in lost))
        # Each of them had one at a time, and only what was begun before it was gone can have been on it.
        assert len(lost) <= BUSY and all(seen.began <= gone for seen in lost)

        # It comes back, as one that is added does: nothing is lost, and it gets its part.
        before = len(load.busy)
        three.start(2)
        load.good_ones(10, lambda seen: seen.node == 'node2')
        assert three.states() == ['UP'] * 3
        lost = [seen for seen in load.busy[before:] if not good(seen)]
        figures('added', 'short ones %d, lost %d' % (len(load.busy) - before, len(lost)))
        assert lost == []


def test_a_node_that_is_drained_loses_nothing():
    origin = Origin()
    with listening(origin) as place, cluster() as three, Load(three.address, place) as load:
        load.good_ones(50)
        load.hold(origin)
        on_it = origin.held.count('node3')
        drained = three.nodes[3]
        drained.tell(signal.SIGTERM)
        drained.wait_for(br' stopping: waiting for \d+ connections?, at most 8 s\n')
        stopping = monotonic()
        wait_until(lambda: three.states() == ['UP', 'UP', 'DOWN'], 'HAProxy to see it')
        load.good_ones(50, lambda seen: seen.began > stopping)
        origin.go.set()
        wait_until(lambda: len(load.held) == HELD, 'all to end')
        assert drained.wait() == 0
        lost = [seen for seen in load.busy + load.held if not good(seen)]
        figures('drained', 'held %d, on it %d' % (HELD, on_it), 'short ones %d' % len(load.busy), 'lost %d' % len(lost))
        assert on_it and lost == []
        assert not [seen for seen in load.busy if seen.began > stopping and seen.node == 'node3']
        # And once more, one after another, as an upgrade would.
        before = len(load.busy)
        three.start(3)
        for number in (1, 2, 3):
            wait_until(lambda: three.states() == ['UP'] * 3, 'all nodes to be up')
            three.nodes[number].tell(signal.SIGTERM)
            assert three.nodes[number].wait() == 0
            three.start(number)
            load.good_ones(10, lambda seen: seen.node == 'node%d' % number)
        lost = [seen for seen in load.busy[before:] if not good(seen)]
        figures('rolled', 'short ones %d, lost %d' % (len(load.busy) - before, len(lost)))
        assert lost == []

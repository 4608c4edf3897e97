"""Syslog with a real socket: one that goes and comes back, one that hangs, one over the network. (Files: test_log.)"""
from __future__ import absolute_import, division, print_function

import contextlib
import json
import os
import re
import signal
import socket

import pytest
from helpers import PATIENCE
from processes import GEPROXY, Client, folder, own, process, running, wait_until, write

from geproxy.compat import monotonic
from geproxy.observe import log, sinks

MESSAGE = re.compile(
    r'<(?P<priority>\d+)>(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d (?P<host>\S+ )?'
    r'geproxy\[(?P<pid>\d+)\]: (?P<text>[^\n]*)\Z')
ACCESS = '[log]\naccess = syslog:FOLDER/log\n'


class Daemon(object):
    """Stands for syslogd: a datagram socket, at `path` or by UDP."""

    def __init__(self, path=None):
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        if path and os.path.exists(path):
            os.remove(path)
        self.socket.bind(path or ('127.0.0.1', 0))

    def message(self):
        """Wait for the next message, and return (priority, process id, text)."""
        return self.parts()[:3]

    def parts(self):
        """As `message`, with the host."""
        match = MESSAGE.match(self.socket.recv(65536).decode('ascii'))
        return int(match.group('priority')), int(match.group('pid')), match.group('text'), match.group('host')

    def end(self):
        """As syslogd does when it is stopped: its socket stays behind."""
        self.socket.close()


@contextlib.contextmanager
def syslogd(path=None):
    """A Daemon that ends behind the block."""
    daemon = Daemon(path)
    try:
        yield daemon
    finally:
        daemon.end()


def asked(client, name):
    """Make a line of the log with that name in it."""
    assert client.ask(own(name.encode('ascii'))).startswith(b'HTTP/1.1 200 ')


def names(daemon, count):
    """The names in the next lines."""
    return [re.search(r'/(n\d+) ', daemon.message()[2]).group(1) for _ in range(count)]


def path_in(proxy):
    return os.path.join(proxy.folder, 'log')


# --- a process -------------------------------------------------------------------------------------------------------

def test_each_exchange_is_a_message_and_errors_have_a_higher_severity():
    with folder() as here:
        path = os.path.join(here, 'log')
        with syslogd(path) as daemon:
            ini = '[log]\naccess = syslog:%s\nformat = json\nerrors = syslog:%s\n' % (path, path)
            write(os.path.join(here, 'proxy.ini'), '[proxy]\nlisten = 127.0.0.1:0\n' + ini)
            with process(GEPROXY + ['-c', os.path.join(here, 'proxy.ini')]) as proxy:
                priority, pid, text = daemon.message()
                assert (priority, pid) == (3 * 8 + 5, proxy.pid)
                address = '127.0.0.1', int(re.match(r'listening on 127\.0\.0\.1:(\d+) for ', text).group(1))
                with Client(address) as client:
                    asked(client, '/n1')
                priority, pid, text = daemon.message()
                assert priority == 3 * 8 + 6 and json.loads(text)['url.original'].endswith('/n1')
                assert proxy.out == proxy.err == b''


def test_a_syslogd_that_dies_and_comes_back_gets_every_line():
    with running(ACCESS) as proxy, Client(proxy.address) as client:
        # It is not there yet.
        asked(client, '/n0')
        proxy.wait_for(br'syslog: \S+/log: No such file or directory; log lines wait in the queue until it answers\n')
        with syslogd(path_in(proxy)) as daemon:
            assert names(daemon, 1) == ['n0']
            asked(client, '/n1')
            priority, pid, text = daemon.message()
            assert (priority, pid) == (3 * 8 + 6, proxy.pid)
            assert re.match(r'\d+\.\d{3} +\d+ 127\.0\.0\.1 NONE_NONE/200 \d+ OPTIONS \S+/n1 - HIER_NONE/- -\Z', text)
        # It is stopped: its socket is there, but nobody reads it.
        for number in (2, 3):
            asked(client, '/n%d' % number)
        proxy.wait_for(br'syslog: \S+/log: Connection refused; log lines wait')
        with syslogd(path_in(proxy)) as daemon:
            assert names(daemon, 2) == ['n2', 'n3']
        # It is restarted in between, and nobody has missed it.
        with syslogd(path_in(proxy)) as daemon:
            asked(client, '/n4')
            assert names(daemon, 1) == ['n4']
        assert proxy.err.count(b' syslog: ') == 2 and b'Traceback' not in proxy.err and b' dropped' not in proxy.err


def test_a_syslogd_that_hangs_delays_no_exchange_and_no_stop():
    with running(ACCESS + '[timeouts]\ndrain = 1\n') as proxy:
        with syslogd(path_in(proxy)) as daemon, Client(proxy.address) as client:
            for number in range(500):               # far more than wait in a socket
                asked(client, '/n%d' % number)
            assert names(daemon, 500) == ['n%d' % number for number in range(500)]
            for number in range(500):
                asked(client, '/n%d' % number)
            client.socket.close()
            began = monotonic()
            proxy.tell(signal.SIGTERM)
            assert proxy.wait() == 0
            assert monotonic() - began < PATIENCE / 2


def test_messages_over_the_network_name_the_host():
    with syslogd() as daemon:
        port = daemon.socket.getsockname()[1]
        with running('[log]\naccess = syslog://127.0.0.1:%d\n' % port) as proxy, Client(proxy.address) as client:
            asked(client, '/n1')
            priority, pid, text, host = daemon.parts()
    assert (priority, pid, host) == (3 * 8 + 6, proxy.pid, socket.gethostname() + ' ') and '/n1 ' in text


def test_a_reload_switches_to_syslog_and_back():
    with running('[log]\naccess = FOLDER/access.log\n') as proxy, Client(proxy.address) as client:
        with open(proxy.path) as opened:
            before = opened.read()
        with syslogd(path_in(proxy)) as daemon:
            for text in (before.replace(proxy.folder + '/access.log', 'syslog:' + path_in(proxy)), before):
                with open(proxy.path, 'w') as opened:
                    opened.write(text)
                proxy.tell(signal.SIGHUP)
                proxy.wait_for(br'(?s)(SIGHUP: \S+ read\n.*){%d}' % (1 + (text == before)))
                asked(client, '/n1')
            assert names(daemon, 1) == ['n1']
        wait_until(lambda: os.path.getsize(os.path.join(proxy.folder, 'access.log')), 'the line in the file')


# --- a sink --------------------------------------------------------------------------------------------------------

def test_the_queue_for_a_missing_syslogd_is_bounded_and_dropped_lines_are_counted():
    with folder() as here:
        path, many = os.path.join(here, 'log'), 100
        writer = log.Writer('syslog:' + path)
        for number in range(log.QUEUE + many):
            writer.write('/n%d ' % number)
        dropped = writer.dropped
        assert 0 <= dropped <= many
        wait_until(lambda: writer.trouble, 'the trouble to be told')
        with syslogd(path) as daemon:
            kept = log.QUEUE + many - dropped
            assert names(daemon, kept) == ['n%d' % number for number in range(kept)]
            writer.close(PATIENCE)
        assert writer.dropped == dropped


def test_a_stop_does_not_wait_for_a_missing_syslogd():
    with folder() as here:
        writer = log.Writer('syslog:' + os.path.join(here, 'log'))
        writer.write('a line')
        began = monotonic()
        writer.close(PATIENCE)
        assert monotonic() - began < PATIENCE / 2 and writer.dropped == 1


def test_a_line_too_long_for_a_datagram_is_cut_off():
    with folder() as here:
        path, troubles = os.path.join(here, 'log'), []
        with syslogd(path) as daemon:
            sink = sinks.open_sink('syslog:' + path, troubles.append)
            assert sink.write([sink.to_message('x' * 70000, sinks.INFO), sink.to_message('y', sinks.INFO)]) == (0, [])
            assert len(daemon.socket.recv(100000)) == sinks.DATAGRAM
            assert daemon.message()[2] == 'y' and troubles == []
            sink.close()


@pytest.mark.parametrize('target,where', [
    (sinks.SyslogAddress(3, '', 'no-such-host.invalid', 514), 'no-such-host.invalid'),
    (sinks.SyslogAddress(3, '', 'x' * 64 + '.invalid', 514), 'x' * 64 + '.invalid'),
    (sinks.SyslogAddress(3, '/nowhere/at/all', '', 0), '/nowhere/at/all'),
])
def test_a_syslogd_that_cannot_be_reached_is_reported_once_and_its_lines_are_kept(monkeypatch, target, where):
    monkeypatch.setattr(sinks, 'RETRY', 0.01)         # seconds that each write takes here
    troubles = []
    sink = sinks.Syslog(target, troubles.append)
    for _ in range(2):
        assert sink.write(['one', 'two']) == (0, ['one', 'two'])
    assert len(troubles) == 1 and troubles[0].startswith('syslog: %s: ' % where)


@pytest.mark.parametrize('text, address', [
    ('syslog', sinks.SyslogAddress(3, '', '', 0)),
    ('syslog:daemon', sinks.SyslogAddress(3, '', '', 0)),
    ('syslog:local7', sinks.SyslogAddress(23, '', '', 0)),
    ('syslog:kern', sinks.SyslogAddress(0, '', '', 0)),
    ('syslog:/run/systemd/journal/dev-log', sinks.SyslogAddress(3, '/run/systemd/journal/dev-log', '', 0)),
    ('syslog://log.example.org', sinks.SyslogAddress(3, '', 'log.example.org', 514)),
    ('syslog://192.0.2.1:5514', sinks.SyslogAddress(3, '', '192.0.2.1', 5514)),
    ('syslog://[2001:db8::1]:5514', sinks.SyslogAddress(3, '', '2001:db8::1', 5514)),
    ('/var/log/syslog', None),
    ('syslogs', None),
])
def test_a_syslogd_is_named_by_facility_socket_or_host(text, address):
    assert sinks.syslog_address(text) == address

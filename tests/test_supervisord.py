"""conf/supervisord.conf, its very text but for paths and ports, under every real supervisord that is here."""
from __future__ import absolute_import, division, print_function

import json
import os
import re
import signal
import socket

import gevent
import pytest
from gevent.event import Event
from helpers import PATIENCE, listening, read_until
from processes import Client, answering, get, own, read, wait_until, write
from supervising import PLACES, supervised

pytestmark = pytest.mark.programs


# --- running the stories ---------------------------------------------------------------------------------------------

STORIES = {}        # {name: function}


def story(*places):
    """Make a test of a function, for each place. They all run at once, as most of the time nothing happens in them:
    supervisord waits seconds before it believes that a program runs."""
    def decorate(function):
        @pytest.mark.parametrize('place', places)
        def test(told, place):
            told['%s[%s]' % (function.__name__, place)].get()
        test.__name__ = function.__name__
        for place in places:
            STORIES['%s[%s]' % (function.__name__, place)] = function, PLACES[place]
        return test
    return decorate


@pytest.fixture(scope='module')
def told(request):
    """The stories that were asked for, begun: {name of the test: its greenlet}."""
    begun = dict((item.name, gevent.spawn(tell, *STORIES[item.name])) for item in request.session.items
                 if item.name in STORIES)
    yield begun
    gevent.killall(list(begun.values()))


def tell(function, where):
    """Run a story, if there is a supervisord to run it with."""
    if not os.path.exists(os.path.join(where, 'supervisord')):
        pytest.skip('no supervisord in %s' % where)
    function(where)


class Slow(object):
    """An origin's `handle` that tells when a request has come, and waits to be allowed to answer."""

    def __init__(self):
        self.asked, self.go = Event(), Event()

    def __call__(self, sock):
        read_until(sock, b'\r\n\r\n')
        self.asked.set()
        assert self.go.wait(2 * PATIENCE)
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine')


# --- [program:geproxy] -----------------------------------------------------------------------------------------------

@story('python', 'distribution')
def test_it_serves_takes_signals_and_is_restarted(where):
    with listening(answering()) as place, supervised(where) as supervisor:
        first = supervisor.geproxy()
        supervisor.serves(place)                # though supervisord's environment has an http_proxy
        assert 'geproxy: signalled' in supervisor.ctl('signal', 'HUP', 'geproxy')
        supervisor.wait_for(br'SIGHUP: \S+proxy\.ini read\n')
        path = os.path.join(supervisor.here, 'access.log')
        os.rename(path, path + '.1')
        assert 'geproxy: signalled' in supervisor.ctl('signal', 'USR1', 'geproxy')
        wait_until(lambda: os.path.exists(path), 'the log to be opened anew')
        assert 'geproxy: started' in supervisor.ctl('restart', 'geproxy')
        second = supervisor.geproxy(2)
        assert second != first
        supervisor.serves(place)
        assert [supervisor.wait_for(br'"GET"', name) for name in ('access.log.1', 'access.log')]
        assert b'"GET"' not in supervisor.log() and b'Traceback' not in supervisor.log()


@story('python')
def test_after_a_crash_it_is_started_again(where):
    with listening(answering()) as place, supervised(where) as supervisor:
        first = supervisor.geproxy()
        supervisor.wait_for(br'success: geproxy entered RUNNING state', 'supervisord.log')
        os.kill(first, signal.SIGKILL)
        supervisor.wait_for(br'exited: geproxy \(terminated by SIGKILL; not expected\)', 'supervisord.log')
        assert supervisor.geproxy(2) != first
        supervisor.serves(place)


@story('python')
def test_a_stop_lets_an_exchange_end_and_a_wanted_end_is_no_crash(where):
    origin = Slow()
    with listening(origin) as place, supervised(where) as supervisor:
        supervisor.geproxy()
        with Client(supervisor.address) as client:
            client.send(get(place))
            assert origin.asked.wait(PATIENCE)
            stopping = gevent.spawn(supervisor.ctl, 'stop', 'geproxy')
            supervisor.wait_for(br'stopping: waiting for 1 connection, at most 8 s')
            origin.go.set()
            assert client.response().endswith(b'\r\n\r\nfine')
        assert 'geproxy: stopped' in stopping.get()
        supervisor.wait_for(br'stopped: geproxy \(exit status 0\)', 'supervisord.log')
        assert b' cut\n' not in supervisor.log()
        # And if somebody else ends it, it stays so.
        assert 'geproxy: started' in supervisor.ctl('start', 'geproxy')
        os.kill(supervisor.geproxy(2), signal.SIGTERM)
        supervisor.wait_for(br'exited: geproxy \(exit status 0; expected\)', 'supervisord.log')
        assert 'EXITED' in supervisor.ctl('status', 'geproxy')


@story('python')
def test_a_bad_file_ends_in_FATAL_and_the_log_says_why(where):
    with supervised(where, bad='[timeouts]\nconect = 5\n') as supervisor:
        supervisor.wait_for(br'gave up: geproxy entered FATAL state', 'supervisord.log', seconds=4 * PATIENCE)
        assert 'FATAL' in supervisor.ctl('status', 'geproxy')
        lines = supervisor.log().split(b'\n')[:-1]
        assert len(lines) >= 4                  # the first try, and startretries
        for line in lines:
            assert re.match(br'/\S+/proxy\.ini:\d+: \[timeouts\] conect: unknown option '
                            br'\(did you mean connect\?\)\Z', line)


@story('python')
def test_a_supervisord_that_does_not_empty_its_pipe_stops_no_client(where):
    with listening(answering()) as place, supervised(where, access='-') as supervisor:
        supervisor.geproxy()
        os.kill(supervisor.pid, signal.SIGSTOP)
        asked = 500                             # lines of some 400 octets: three times what a pipe holds
        with Client(supervisor.address) as client:
            for _ in range(asked // 100):
                client.send(own() * 100)
                for _ in range(100):
                    assert client.response().startswith(b'HTTP/1.1 200 ')
            assert client.ask(get(place)).endswith(b'\r\n\r\nfine')
        supervisor.serves(place)
        assert supervisor.log().count(b'"OPTIONS"') < asked
        os.kill(supervisor.pid, signal.SIGCONT)
        supervisor.wait_for(br'"OPTIONS"', count=asked)
        supervisor.wait_for(br'"GET"', count=2)
        assert b' dropped' not in supervisor.log()


# --- [fcgi-program:geproxy] ------------------------------------------------------------------------------------------

def ask_until(over, supervisor, place, answers):
    """A client that makes a new connection for each request; what it gets is added to `answers`."""
    while not over.is_set():
        try:
            with Client(supervisor.address) as client:
                client.send(get(place))
                answers.append(client.response()[-4:])
        except (socket.error, AssertionError) as error:
            answers.append(repr(error).encode('ascii'))
        gevent.sleep(0.005)


@story('python', 'distribution')
def test_two_processes_share_a_port_and_the_restart_of_one_refuses_no_client(where):
    with listening(answering()) as place, supervised(where, 'fcgi-program') as supervisor:
        first = [supervisor.geproxy(1, name) for name in ('geproxy_0.log', 'geproxy_1.log')]
        over, answers = Event(), []
        clients = [gevent.spawn(ask_until, over, supervisor, place, answers) for _ in range(4)]
        try:
            wait_until(lambda: len(who_served(supervisor)) == 2, 'both to serve')
            shown = supervisor.ctl('restart', 'geproxy:geproxy_0')
            assert 'geproxy:geproxy_0: stopped' in shown and 'geproxy:geproxy_0: started' in shown
            second = [supervisor.geproxy(2, 'geproxy_0.log'), supervisor.geproxy(1, 'geproxy_1.log')]
            assert second[0] != first[0] and second[1] == first[1]
            wait_until(lambda: len(who_served(supervisor)) == 3, 'the new one to serve')
        finally:
            over.set()
            gevent.joinall(clients, timeout=PATIENCE)
        assert len(answers) > 100
        assert [answer for answer in answers if answer != b'fine'] == []


@story('python', 'distribution')
def test_all_are_rolled_one_after_the_other_and_a_bad_one_stops_the_roll(where):
    with listening(answering()) as place, supervised(where, 'fcgi-program') as supervisor:
        ini = os.path.join(supervisor.here, 'fcgi.ini')
        good = read(ini).decode('ascii')
        write(ini, re.sub(r'(?m)(?s)(\[admin\].*?^listen = ).*?$', r'\1unix:%s/{pid}.sock' % supervisor.here, good))
        names = ('geproxy_0.log', 'geproxy_1.log')
        first = [supervisor.geproxy(1, name) for name in names]
        for name in names:
            supervisor.wait_for(br'success: %s entered RUNNING' % name[:-4].encode('ascii'), 'supervisord.log')
        over, answers = Event(), []
        clients = [gevent.spawn(ask_until, over, supervisor, place, answers) for _ in range(4)]
        try:
            code, out, err = supervisor.roll(ini)
            second = [supervisor.geproxy(2, name) for name in names]
            assert (code, err) == (0, '')
            assert re.match(r'geproxy:geproxy_0: %d -> %d, ready after \S+\ngeproxy:geproxy_1: %d -> %d, ready after \S+\n\Z'
                            % (first[0], second[0], first[1], second[1]), out)
            # What only fails once it starts: the check does not see it.
            write(ini, read(ini).replace(b'access = ' + supervisor.here.encode('ascii'), b'access = /nowhere'))
            code, out, err = supervisor.roll(ini)
            assert (code, out) == (3, '')
            assert 'geproxy:geproxy_0 did not come up: ' in err and 'not touched: geproxy:geproxy_1\n' in err
            supervisor.serves(place)
            assert 'RUNNING   pid %d' % second[1] in supervisor.ctl('status', 'geproxy:geproxy_1')
        finally:
            over.set()
            gevent.joinall(clients, timeout=PATIENCE)
        assert len(answers) > 100
        assert [answer for answer in answers if answer != b'fine'] == []


def who_served(supervisor):
    """Request ids begin with something of their process: what those in the access log begin with."""
    return set(json.loads(line.decode('ascii'))['id'].partition('-')[0]
               for line in supervisor.log('access.log').split(b'\n')[:-1])

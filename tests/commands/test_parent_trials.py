"""Trials of parents: what works, what fails, and what is said to the parent meanwhile. Real sockets."""
from __future__ import absolute_import, division, print_function

import re
import socket

import pytest
from helpers import Names, listening, read_until
from test_handshakes import parent_at, secure_parent, secured

from geproxy import errors
from geproxy.commands import parent_trials
from geproxy.policy.routes import Target
from geproxy.settings import loading

ORIGIN = Target(b'https', b'origin.test', 443)
PLAIN = Target(b'http', b'origin.test', 80)


def trying(*lines, **options):
    """Return a Tester with these lines of an ini file."""
    return parent_trials.Tester(loading.load('test.ini', ('[proxy]', 'name = here') + lines), **options)


def answering(answer, asked):
    """Return a handler of a parent that appends what it is asked to the list `asked`, and answers."""
    def handle(sock):
        head = read_until(sock, b'\r\n\r\n')
        if head:
            asked.append(head)
            sock.sendall(answer)
    return handle


def sentences(trial):
    """Return the steps of a Trial, with N for each number of milliseconds."""
    return [re.sub(r'\d+ ms', 'N ms', step) for step in trial.steps]


def test_a_tunnel_is_asked_for_and_timed():
    asked = []
    with listening(answering(b'HTTP/1.1 200 OK\r\n\r\n', asked)) as address:
        trial = trying().try_tunnel(parent_at(address, login=(b'joe', b'x')), ORIGIN)
    assert trial.error is None
    assert sentences(trial) == ['connected to 127.0.0.1 port %d in N ms' % address[1],
                                'it opened a tunnel to origin.test:443 in N ms']
    assert asked == [b'CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\nProxy-Authorization: Basic am9lOng=\r\n'
                     b'Via: 1.1 here\r\n\r\n']


def test_a_parent_that_takes_plain_requests_is_asked_and_not_the_origin():
    asked = []
    with listening(answering(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n', asked)) as address:
        trial = trying().try_request(parent_at(address, login=(b'joe', b'x')), PLAIN)
    assert trial.error is None
    assert sentences(trial)[1:] == [
        'parent 127.0.0.1:%d answered 403 Forbidden to OPTIONS http://origin.test:80/, in N ms' % address[1]]
    assert asked == [b'OPTIONS http://origin.test:80/ HTTP/1.1\r\nHost: origin.test:80\r\nMax-Forwards: 0\r\n'
                     b'Connection: close\r\nProxy-Authorization: Basic am9lOng=\r\nVia: 1.1 here\r\n\r\n']


@pytest.mark.parametrize('answer,error,message', [
    (b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n', errors.ParentLoginFailed,
     'answered 407 No to {asked}: it wants a log-in'),
    (b'nonsense\r\n\r\n', errors.ParentFailed, 'gave no valid answer to {asked}: '),
    (b'', errors.ParentFailed, ' {asked}: '),
])
@pytest.mark.parametrize('way', ['tunnel', 'request'])
def test_what_fails_is_told(way, answer, error, message):
    with listening(answering(answer, [])) as address:
        trials, parent = trying(), parent_at(address)
        trial = trials.try_tunnel(parent, ORIGIN) if way == 'tunnel' else trials.try_request(parent, PLAIN)
    asked = 'CONNECT origin.test:443' if way == 'tunnel' else 'OPTIONS http://origin.test:80/'
    assert type(trial.error) is error and len(trial.steps) == 1
    assert message.format(asked=asked) in str(trial.error) and 'parent 127.0.0.1:%d ' % address[1] in str(trial.error)


def test_a_parent_that_refuses_a_tunnel_has_answered():
    with listening(answering(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n', [])) as address:
        trial = trying().try_tunnel(parent_at(address), ORIGIN)
    assert type(trial.error) is errors.ParentRefused and 'answered 403 Forbidden to CONNECT' in str(trial.error)


def test_a_silent_parent_has_the_time_of_the_option():
    def silence(sock):
        sock.recv(1000), sock.recv(1)
    with listening(silence) as address:
        trials = trying('[timeouts]', 'connect = 100ms')
        trial = trials.try_request(parent_at(address), PLAIN)
        assert type(trial.error) is errors.ParentFailed and 'gave no valid answer to OPTIONS' in str(trial.error)
        assert type(trials.try_tunnel(parent_at(address), ORIGIN).error) is errors.ParentFailed


@pytest.mark.parametrize('try_it', [lambda trials, parent: trials.try_tunnel(parent, ORIGIN),
                                    lambda trials, parent: trials.try_request(parent, PLAIN)])
def test_a_parent_that_is_not_there(try_it):
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))         # and does not listen
    trial = try_it(trying(), parent_at(sock.getsockname()))
    assert (trial.steps, type(trial.error)) == ([], errors.ConnectRefused)
    sock.close()


def test_a_parent_without_an_address():
    trial = trying().try_tunnel(parent_at(('', 3128), host=b'no-such-parent.invalid'), ORIGIN)
    assert (trial.steps, type(trial.error)) == ([], errors.DnsError)


def test_an_address_that_must_not_be_dialled_is_not():
    def deny(address, port):
        raise errors.Denied('%s port %d is this proxy itself' % (address, port))
    trial = trying(judge=deny).try_tunnel(parent_at(('', 3128)), ORIGIN)
    assert (trial.steps, str(trial.error)) == ([], '127.0.0.1 port 3128 is this proxy itself')


@pytest.mark.parametrize('way', ['tunnel', 'request'])
def test_tls_is_a_step_of_its_own(way):
    def answer(sock):
        if read_until(sock, b'\r\n\r\n'):
            sock.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
    with listening(secured(answer)) as address:
        trials, parent = trying(resolver=Names('127.0.0.1')), secure_parent(address)
        trial = trials.try_tunnel(parent, ORIGIN) if way == 'tunnel' else trials.try_request(parent, PLAIN)
    assert trial.error is None and len(trial.steps) == 3 and re.match(r'TLS in \d+ ms: TLSv1\.[23], ', trial.steps[1])

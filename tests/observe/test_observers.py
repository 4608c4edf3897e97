"""Observers are told of every exchange, exactly once each, in order; one that fails costs nobody anything."""
from __future__ import absolute_import, division, print_function

import json

import pytest
from helpers import ask, connect, listening, proxying, read_all, read_until
from processes import answering, get, own

from geproxy import errors
from geproxy.net import supervise
from geproxy.observe import formats
from geproxy.observe.observers import EVENTS, Observers
from geproxy.observe.record import Record
from geproxy.observe.subscribers import Subscriber


class Notes(object):
    """An observer that notes (event, URL, reason)."""

    def __init__(self):
        self.events = []

    def began(self, record):
        """Note that an exchange has begun."""
        self.events.append(('began', record.url, record.reason))

    def opened(self, record):
        """Note that a tunnel has opened."""
        self.events.append(('opened', record.url, record.reason))

    def ended(self, record):
        """Note that an exchange has ended."""
        self.events.append(('ended', record.url, record.reason))


class Broken(object):
    """An observer that always fails."""

    def began(self, _record):
        """Fail."""
        raise RuntimeError('began')

    def opened(self, _record):
        """Fail."""
        raise RuntimeError('opened')

    def ended(self, _record):
        """Fail."""
        raise RuntimeError('ended')


def observed(proxy):
    """Notes of all exchanges of a proxy from now on. They come first: whoever waits for the record finds them."""
    notes, observers = Notes(), proxy.server.observers
    observers.remove(proxy)
    observers.add(notes)
    observers.add(proxy)
    return notes


def opening(origin):
    """A CONNECT to an origin."""
    name = b'%s:%d' % (origin[0].encode('ascii'), origin[1])
    return b'CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (name, name)


def test_a_get_begins_and_ends():
    with listening(answering()) as origin, proxying() as (address, proxy):
        notes = observed(proxy)
        ask(address, get(origin, b'/one') + get(origin, b'/two'))
        proxy.wait(2)
        url = b'http://127.0.0.1:%d/' % origin[1]
        assert notes.events == [('began', b'', ''), ('ended', url + b'one', ''),
                                ('began', b'', ''), ('ended', url + b'two', '')]


def test_a_tunnel_opens_in_between():
    with listening(read_all) as origin, proxying() as (address, proxy):
        notes, name = observed(proxy), b'127.0.0.1:%d' % origin[1]
        assert ask(address, opening(origin)).startswith(b'HTTP/1.1 200 ')
        proxy.wait()
        assert notes.events == [('began', b'', ''), ('opened', name, ''), ('ended', name, '')]


def test_so_does_an_upgraded_connection():
    def switch(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n')
    with listening(switch) as origin, proxying() as (address, proxy):
        notes = observed(proxy)
        ask(address, get(origin, b'/', b'Connection: Upgrade\r\nUpgrade: websocket\r\n'))
        proxy.wait()
        assert [event for event, _url, _reason in notes.events] == ['began', 'opened', 'ended']


@pytest.mark.parametrize('octets, url, reason', [
    (b'GET http://a.test:25/ HTTP/1.1\r\nHost: a.test:25\r\n\r\n', b'http://a.test:25/', 'http_request_denied'),
    (b'CONNECT a.test:25 HTTP/1.1\r\nHost: a.test:25\r\n\r\n', b'a.test:25', 'http_request_denied'),
    (b'nonsense\r\n\r\n', b'', 'http_request_error'),
    (b'GET http://a.te', b'', 'client_lost'),
    (b'PRI * HTTP/2.0\r\n\r\n', b'', 'wrong_protocol'),
    (b'\x05\x00', b'', 'http_request_error')])
def test_a_refused_exchange_begins_and_ends_and_opens_nothing(octets, url, reason):
    with proxying('[access]\nhttp_ports = 80\nconnect_ports = 443\n') as (address, proxy):
        notes = observed(proxy)
        ask(address, octets)
        proxy.wait()
        assert notes.events == [('began', b'', ''), ('ended', url, reason)]


def test_a_connection_for_which_there_is_no_room_is_an_exchange_too():
    with proxying('[limits]\nconnections = 1\n') as (address, proxy):
        notes, sock = observed(proxy), connect(address)
        try:
            sock.sendall(own())
            read_until(sock, b'\r\n\r\n')
            proxy.wait(1)
            ask(address, own())
            proxy.wait(2)
        finally:
            sock.close()
        assert [(event, reason) for event, _url, reason in notes.events] == [
            ('began', ''), ('ended', ''), ('began', ''), ('ended', 'connection_limit_reached')]


@pytest.mark.parametrize('tunnel', [True, False])
def test_a_killed_exchange_ends_once(tunnel):
    with listening(read_all) as origin, proxying() as (address, proxy):
        notes, sock = observed(proxy), connect(address)
        try:
            sock.sendall(opening(origin) if tunnel else get(origin))
            proxy.wait_until(lambda: any(conversation.view().exchange and conversation.view().exchange.method for conversation in proxy.server.live))
            if tunnel:
                read_until(sock, b'\r\n\r\n')
            proxy.server.end(list(proxy.server.live), errors.Killed('ended by the operator of the proxy'))
            read_all(sock)
        finally:
            sock.close()
        proxy.wait()
        assert [event for event, _url, _reason in notes.events] == ['began'] + ['opened'] * tunnel + ['ended']
        assert notes.events[-1][2] == 'killed'


def test_observers_are_told_in_their_order_and_only_of_the_events_that_they_have_methods_for():
    class Ends(object):
        def ended(self, record):
            """Note who was told."""
            told.append((self, record))
    told, one, two = [], Ends(), Ends()
    observers, record = Observers(None, [one]), Record('::1')
    observers.add(two)
    for event in EVENTS:
        getattr(observers, event)(record)
    assert told == [(one, record), (two, record)]
    observers.remove(one)
    observers.ended(record)
    assert told[2:] == [(two, record)]


def test_an_observer_that_fails_costs_no_exchange_and_silences_no_other(monkeypatch):
    monkeypatch.setattr(supervise, '_said', set())
    monkeypatch.setattr(supervise, 'failures', {})
    with listening(answering()) as origin, proxying() as (address, proxy):
        observers = proxy.server.observers
        observers.remove(proxy)
        observers.add(Broken())
        notes = observed(proxy)
        for path in (b'/one', b'/two'):
            assert ask(address, get(origin, path)).startswith(b'HTTP/1.1 200 ')
        with listening(read_all) as other:
            assert ask(address, opening(other)).startswith(b'HTTP/1.1 200 ')
        proxy.wait(3)
        assert [event for event, _url, _reason in notes.events] == ['began', 'ended', 'began', 'ended', 'began', 'opened', 'ended']
        assert supervise.failures == {'observer Broken': 7}
        # One traceback for each place, not for each request.
        assert [text.split('\n')[-1] for text in proxy.said if 'observer' in text] == [
            'RuntimeError: began', 'RuntimeError: ended', 'RuntimeError: opened']


def test_a_new_field_of_the_log_is_one_row(monkeypatch):
    monkeypatch.setattr(formats, 'FIELDS', formats.FIELDS + [
        formats.Field('user_agent.original', 'the User-Agent of the request',
                      lambda record, query: formats.show(b', '.join(record.request.values(b'user-agent')))),
        formats.Field('server.software', 'the Server of the response',
                      lambda record, query: formats.show(b', '.join(record.response.values(b'server'))))])

    def answer(sock):
        if read_until(sock, b'\r\n\r\n'):
            sock.sendall(b'HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n')
    with listening(answer) as origin, proxying() as (address, proxy):
        subscriber = Subscriber(False)
        proxy.server.observers.remove(proxy)
        proxy.server.observers.add(subscriber)
        proxy.server.observers.add(proxy)
        ask(address, get(origin, b'/', b'User-Agent: me/1\r\n') + b'nonsense\r\n\r\n')
        proxy.wait(2)
        found = [json.loads(line) for line in subscriber.take()]
    assert [(line['user_agent.original'], line['server.software']) for line in found] == [('me/1', 'nginx'), ('-', '-')]

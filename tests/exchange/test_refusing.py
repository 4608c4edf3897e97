"""How requests are refused: what the client is told, and what becomes of its connection. Real sockets."""
from __future__ import absolute_import, division, print_function

import socket

import gevent
import pytest
from helpers import ask, connect, proxying, read_all
from processes import Client
from test_conversation import get, split

from geproxy.compat import monotonic


def test_a_refusal_says_what_failed_and_the_request_id():
    with proxying() as (address, proxy):
        sock = socket.socket()
        sock.bind(('127.0.0.1', 0))             # bound, not listening: refused
        status, fields, body = split(ask(address, get(sock.getsockname())))
        record = proxy.wait()[0]
        what = "127.0.0.1 port %d: connection refused" % sock.getsockname()[1]
        sock.close()
        assert status == b'HTTP/1.1 502 ' + what.encode('ascii')
        assert fields[b'content-type'] == b'text/plain; charset=us-ascii'
        assert b'error=connection_refused; details="' + what.encode('ascii') in fields[b'proxy-status']
        assert record.id.encode('ascii') in body and record.id.encode('ascii') in fields[b'proxy-status']
        assert (record.status, record.reason, record.message) == (502, 'connection_refused', what)


def test_a_failure_of_head_has_no_body():
    with proxying() as (address, _proxy):
        shown = ask(address, b'HEAD http://no-such-name.invalid/ HTTP/1.1\r\nHost: no-such-name.invalid\r\n\r\n')
        assert shown.startswith(b'HTTP/1.1 502 ') and shown.endswith(b'\r\n\r\n')


def test_an_early_refusal_of_an_upload_survives_the_close():
    with proxying('[access]\nhttp_ports = 80') as (address, proxy):
        client = connect(address)
        client.sendall(get(('127.0.0.1', 81), method=b'PUT', more=b'Content-Length: 3000000\r\n'))
        client.sendall(b'x' * 3000000)          # all of it, before looking at the answer
        status, fields, body = split(read_all(client))
        assert status.startswith(b'HTTP/1.1 403 ') and fields[b'connection'] == b'close'
        assert len(body) == int(fields[b'content-length'])


@pytest.mark.parametrize('octets, answer, word', [
    (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', b'\x15\x03\x01\x00\x02\x02\x46', 'TLS'),
    (b'\x05\x01\x00', b'\x05\xff', 'SOCKS 5'),
    (b'\x04\x01\x00\x50\x7f\x00\x00\x01\x00', b'\x00\x5b\x00\x00\x00\x00\x00\x00', 'SOCKS 4'),
    (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', b'\x00\x00\x00\x04\x00', 'HTTP/2'),
])
def test_a_client_of_another_protocol_is_refused_in_that_protocol(octets, answer, word):
    with proxying('[proxy]\nsocks = off\n') as (address, proxy):
        client = connect(address)
        client.sendall(octets)                  # and waits for an answer
        assert read_all(client).startswith(answer)
        client.close()
        record = proxy.wait()[0]
        assert record.reason == 'wrong_protocol' and word in record.message and 'http://' in record.message or word == (
            'HTTP/2')


@pytest.mark.parametrize('octets, status', [
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\n\r\n', 400),
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n', 400),
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\nA: b\r\n\r\n', 400),
    (b'HEAD http://127.0.0.1:1/ HTTP/2.0\r\nHost: x\r\n\r\n', 505),
    (b'HEAD https://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n\r\n', 501),
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n' + b'A: b\r\n' * 1300 + b'\r\n', 431),
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\nA: ' + b'b' * 70000 + b'\r\n\r\n', 431),
    (b'HEAD http://127.0.0.1:1/' + b'b' * 70000 + b' HTTP/1.1\r\nHost: x\r\n\r\n', 414),
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n', 408),
])
def test_the_answer_to_head_has_no_body_however_bad_the_head_is(octets, status):
    with proxying('[timeouts]\nhead = 300ms\n') as (address, proxy):
        client = connect(address)
        client.sendall(octets)
        answer = read_all(client)
        client.close()
        assert answer.startswith(b'HTTP/1.1 %d ' % status) and answer.endswith(b'\r\n\r\n')
        assert int(split(answer)[1][b'content-length']) > 0


REFUSED = '[access]\nrules =\n  deny any refused.test\n  allow any any:any\n'


def test_octets_that_are_discarded_behind_a_refusal_count_for_the_rate():
    more = REFUSED + '[limits]\nrate = 100k\n[timeouts]\nlinger = 1\n'
    with proxying(more) as (address, proxy), Client(address) as client:
        client.send(b'POST http://refused.test/ HTTP/1.1\r\nHost: refused.test\r\nContent-Length: 1000000000\r\n\r\n')
        proxy.wait()
        conversation, = proxy.server.live
        stream = conversation.client
        began = monotonic()
        with pytest.raises(socket.error):
            while True:
                client.send(b'x' * 100000)
        assert stream.received < 100000 * (monotonic() - began) + 100000


def test_bodies_that_are_read_behind_a_407_count_for_the_rate(tmpdir):
    users = tmpdir.join('users')
    users.write('bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=')
    with proxying('[limits]\nrate = 200k\n[auth]\nusers = %s\n' % users) as (address, _proxy), Client(
            address) as client:
        began = monotonic()
        for _ in range(4):
            answer = client.ask(b'POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 60000\r\n\r\n' +
                                b'x' * 60000)
            assert answer[9:12] == b'407' and b'\r\nConnection: close\r\n' not in answer
        assert monotonic() - began > 3 * 60000 / (200 * 1024) - 0.4         # a pause of a moment is made up for


def test_pipelined_requests_that_are_refused_at_once_let_others_run(monkeypatch):
    monkeypatch.setattr('geproxy.net.turns.TURN', 0.0)      # on a quick machine all of it takes few turns
    many = b'GET http://refused.test/ HTTP/1.1\r\nHost: refused.test\r\n\r\n' * 270        # one read takes all
    with proxying(REFUSED) as (address, proxy), Client(address) as first, Client(address) as second:
        def ask_again_and_again():
            while True:
                second.ask(b'GET http://refused.test/second HTTP/1.1\r\nHost: refused.test\r\n\r\n')
        asking = gevent.spawn(ask_again_and_again)
        first.send(many)
        proxy.wait_until(lambda: sum(record.url[-1:] == b'/' for record in proxy.records) == 270)
        asking.kill()
        ends = b''.join(record.url[-1:] for record in proxy.records)       # / is one of many
        assert b'd' in ends[ends.index(b'/'):ends.rindex(b'/')]

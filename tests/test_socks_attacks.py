"""Clients that speak SOCKS badly, slowly, or in great numbers: each gets its end, and nothing is left behind."""
from __future__ import absolute_import, division, print_function

import gc
import os
import random
import socket
import struct

import pytest
from helpers import ask, connect, listening, proxying, read_all, read_until
from processes import own
from test_socks_dialect import OK, ask4, ask5, login, read_exactly, reply5

# Names are denied before they are looked up, and no address but that of the origin is dialled.
INI = '[access]\nconnect_ports = any\nrules =\n  allow any CONNECT localhost\n  deny any any\n%s[log]\naccess = off\n'
USERS = 'eve:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n'
SEEDS = range(8)


def conversations(port):
    """What good clients send, without waiting for answers."""
    return [
        b'\x05\x01\x00' + ask5(port, b'localhost') + b'early',
        b'\x05\x03\x00\x01\x02' + ask5(port, b'127.0.0.1'),
        b'\x05\x01\x02' + login(b'eve', b'secret') + ask5(port, b'localhost') + b'early',
        b'\x05\x01\x00' + ask5(port, b'::1', kind=4),
        ask4(port) + b'early',
        ask4(port, b'localhost', user=b'someone') + b'early',
        ask4(port, b'localhost', user=b''),
    ]


def descriptors():
    """How many files are open."""
    return len(os.listdir('/proc/self/fd'))


def ends(proxy, count, before):
    """Wait until all connections have ended: `count` exchanges. There is no bug in the log, and no descriptor left."""
    proxy.wait_until(lambda: len(proxy.records) >= count and not proxy.server.live)
    assert not [text for text in proxy.said if 'bug' in text or 'Traceback' in text]
    assert not [record for record in proxy.records if record.reason == 'proxy_internal_error']
    gc.collect()
    proxy.wait_until(lambda: descriptors() <= before)


def try_all(address, proxy, messages):
    """Send each message on a connection of its own, and end it. Return what comes back."""
    before = descriptors()
    shown = [ask(address, octets) for octets in messages]
    ends(proxy, len(messages), before)
    return shown


@pytest.fixture(params=['', 'users'])
def ini(request, tmpdir):
    """Ini text without users, and with some."""
    tmpdir.join('users').write(USERS)
    return INI % ('[auth]\nusers = %s\n' % tmpdir.join('users') if request.param else '')


def test_a_conversation_may_be_cut_off_at_each_octet(ini):
    with listening(read_all) as (_host, port), proxying(ini) as (address, proxy):
        cut = [octets[:size] for octets in conversations(port) for size in range(1, len(octets))]
        for octets, shown in zip(cut, try_all(address, proxy, cut)):
            assert shown[:1] in (b'\x05', b'\x00'), octets


@pytest.mark.parametrize('seed', SEEDS)
def test_octets_may_be_anything(ini, seed):
    chance = random.Random(seed)
    with listening(read_all) as (_host, port), proxying(ini) as (address, proxy):
        changed = []
        for octets in conversations(port) * 8:
            octets = bytearray(octets)
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(1, len(octets))
                octets[at:at + chance.randint(0, 2)] = bytearray(chance.choice([
                    [], [0], [255], [chance.randrange(256)], [chance.randrange(256)] * 3, [0] * 300]))
            changed.append(bytes(octets) or b'\x05')
        try_all(address, proxy, changed)


def test_a_reset_at_each_step_leaves_nothing_behind(ini):
    with listening(read_all) as (_host, port), proxying(ini) as (address, proxy):
        before, count = descriptors(), 0
        for octets in conversations(port):
            for size in (1, 2, 3, 5, 9, len(octets)):
                client = connect(address)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                client.sendall(octets[:size])
                client.close()
                count += 1
        proxy.wait_until(lambda: not proxy.server.live)
        ends(proxy, len(proxy.records), before)         # some connections were reset before a greenlet saw them
        assert len(proxy.records) <= count
        assert ask(address, own()).startswith(b'HTTP/1.1 40')       # it still answers


def test_many_that_stop_halfway_do_not_hold_up_a_sound_one():
    pieces = [b'\x05', b'\x05\x02\x00', b'\x05\x01\x00\x05\x01', b'\x04\x01\x00\x50', b'\x04\x01\x00\x50\x7f\x00\x00\x01joe']
    with listening(read_all) as (_host, port), proxying(INI % '[timeouts]\nhead = 1500ms\n') as (address, proxy):
        before = descriptors()
        crowd = []
        for number in range(150):
            crowd.append(connect(address))
            crowd[-1].sendall(pieces[number % len(pieces)])
        proxy.wait_until(lambda: len([each for each in proxy.server.live if each.current]) == len(crowd))
        assert ask(address, b'\x05\x01\x00' + ask5(port, b'localhost')) == b'\x05\x00' + OK
        for client in crowd:
            assert read_all(client) in (b'\x05\xff', b'\x05\x00' + reply5(6), b'\x00\x5b' + b'\0' * 6)
            client.close()
        ends(proxy, len(crowd) + 1, before)
        assert [record.reason for record in proxy.records].count('client_head_timeout') == len(crowd)


def test_http_behind_socks_is_for_the_origin_and_socks_behind_http_is_refused():
    http = b'GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\n\r\n'
    with listening(lambda sock: sock.sendall(b'got ' + read_until(sock, b'\r\n\r\n'))) as (_host, port):
        with proxying(INI % '') as (address, proxy):
            client = connect(address)
            client.sendall(b'\x05\x01\x00' + ask5(port, b'localhost') + http)
            assert read_exactly(client, 12) == b'\x05\x00' + OK
            assert read_all(client) == b'got ' + http
            client.close()
            shown = ask(address, own() + b'\x05\x01\x00' + ask5(port, b'localhost'))
            assert shown.startswith(b'HTTP/1.1 403 ') and shown.count(b'HTTP/1.1 400 ') == 1
            shown = ask(address, b'\x05\x01\x00' + http)
            assert shown == b'\x05\x00' + reply5(1)
            assert [record.status for record in proxy.wait(4)] == [200, 403, 400, 400]

"""The admin client: finds processes, asks them, reads their streams; with real processes, and with none."""
from __future__ import absolute_import, division, print_function

import os

import pytest
from helpers import ask as ask_proxy
from helpers import listening, proxying, read_until
from processes import folder, own, write

from geproxy.admin import client
from geproxy.admin.client import Trouble
from geproxy.compat import monotonic
from geproxy.net import unix_sockets


def test_admin_addresses_come_from_the_command_line_or_the_ini_file():
    with folder() as here:
        path = os.path.join(here, 'proxy.ini')
        write(path, '[admin]\nlisten = unix:%s/{pid}.sock 127.0.0.1:9001 *:9002\n' % here)
        ports = ['127.0.0.1:9001', '127.0.0.1:9002']
        assert client.addresses([], path) == ports
        own_path = os.path.join(here, '1.sock')
        sock = unix_sockets.open_listener(own_path)
        assert client.addresses([], path) == ['unix:' + own_path] + ports
        assert client.addresses(['unix:' + here], path) == client.addresses(['unix:%s/*.sock' % here], None) == [
            'unix:' + own_path]
        assert client.addresses(['127.0.0.1:1', 'unix:/x'], path) == ['127.0.0.1:1', 'unix:/x']
        sock.close()


def test_a_missing_admin_address_is_reported():
    with folder() as here:
        path = os.path.join(here, 'proxy.ini')
        write(path, '')
        with pytest.raises(Trouble) as raised:
            client.addresses([], path)
        assert '[admin]\nlisten = unix:/run/geproxy/{pid}.sock\n' in str(raised.value)
        for wrong in ((), None):
            with pytest.raises(ValueError):
                client.addresses([], wrong)
        with pytest.raises(ValueError):
            client.addresses([], path + 'x')


@pytest.mark.parametrize('place,why', [
    ('127.0.0.1:1', 'connection refused'), ('unix:/nowhere', 'no such file or directory')])
def test_an_address_without_an_answer_is_reported(place, why):
    with pytest.raises(Trouble) as raised:
        client.ask([place], b'GET', b'/-/healthy')
    assert str(raised.value) == 'no geproxy answers: %s: %s' % (place, why)


def test_an_address_without_an_answer_does_not_hide_the_others():
    with proxying('[admin]\nlisten = 127.0.0.1:0\n') as (_address, proxy):
        place, = proxy.server.admin.addresses
        assert client.ask(['unix:/nowhere', place], b'GET', b'/-/healthy') == (
            [(place, 200, ['healthy'])], [])


def test_a_refusal_is_reported():
    with proxying('[admin]\nlisten = 127.0.0.1:0\nclients = 192.0.2.1\n') as (_address, proxy):
        with pytest.raises(Trouble) as raised:
            client.Tails(lambda: proxy.server.admin.addresses)
        assert ' says 403: client 127.0.0.1 is not among [admin] clients' in str(raised.value)


def test_another_program_at_the_address_is_reported():
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'SSH-2.0-OpenSSH\r\n\r\n')
    with listening(handle) as place, pytest.raises(Trouble) as raised:
        client.ask(['%s:%d' % place], b'GET', b'/-/healthy')
    assert "invalid status line 'SSH-2.0-OpenSSH'" in str(raised.value)


def test_streams_of_several_processes_are_one_and_end_with_the_last_process():
    with proxying('[admin]\nlisten = 127.0.0.1:0\n') as (one, first):
        wanted = list(first.server.admin.addresses)
        with client.Tails(lambda: wanted) as tails:
            with proxying('[admin]\nlisten = 127.0.0.1:0\n') as (two, second):
                wanted += second.server.admin.addresses
                tails.look()
                found = []
                for address in (one, two, one):
                    ask_proxy(address, own())
                while len(found) < 3:
                    found += tails.lines(monotonic() + 5)
                assert all('"event": "ended"' in line for line in found)
            ask_proxy(one, own())
            assert len([line for _ in range(3) for line in tails.lines(monotonic() + 0.5)]) == 1
            first.server.admin.close()
            while tails.lines(monotonic() + 5) is not None:
                pass

"""The PROXY header of a load balancer, good, bad and missing. (test_balanced has the rest.)"""
from __future__ import absolute_import, division, print_function

import socket
import struct

import encrypted
import pytest
from helpers import ask, connect, proxying
from processes import own
from test_proxy_header import SIGNATURE

TRUSTED = '[proxy]\nproxy_protocol = 127.0.0.1\n[access]\nclients = any'
LINE = b'PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n'


@pytest.mark.parametrize('octets, status, client', [
    (LINE + own(), b'200', '192.0.2.7'), (b'PROXY UNKNOWN\r\n' + own(), b'200', '127.0.0.1'), (own(), b'400', '127.0.0.1'),
])
def test_the_client_is_the_one_that_the_header_names(octets, status, client):
    with proxying(TRUSTED) as (address, proxy):
        assert ask(address, octets)[9:12] == status
        assert [record.client for record in proxy.wait()] == [client]


def test_a_load_balancer_that_sends_nothing_makes_no_exchange():
    with proxying(TRUSTED) as (address, proxy):
        assert ask(address, b'') == b'' and proxy.records == []


@pytest.mark.parametrize('octets', [b'', LINE[:20], SIGNATURE + b'\x21'])
def test_a_load_balancer_that_resets_in_the_header_leaves_no_traceback(octets, capfd):
    with encrypted.proxying(TRUSTED) as (address, proxy):
        sock = connect(address)
        proxy.wait_until(lambda: proxy.server.live)
        sock.sendall(octets)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        sock.close()
        proxy.wait_until(lambda: not proxy.server.live)
        assert [record.reason for record in proxy.records] == (['client_lost'] if octets else [])
    assert capfd.readouterr()[1] == ''

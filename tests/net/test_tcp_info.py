"""What the kernel knows of connections."""
from __future__ import absolute_import, division, print_function

import socket
import struct

import pytest
from helpers import stream_pair

from geproxy.net import tcp_info


@pytest.mark.skipif(not hasattr(socket, 'TCP_INFO'), reason='Linux only')
def test_the_silence_of_a_connection_is_known():
    with stream_pair() as (stream, other):
        other.sendall(b'x')
        assert 0 <= tcp_info.silence(stream.transport) < 20


def test_the_kernel_says_nothing_about_other_sockets_than_tcp():
    one, other = socket.socketpair()
    try:
        assert tcp_info.silence(one) is None
    finally:
        one.close()
        other.close()


@pytest.mark.parametrize('how', ['sends', 'ends', 'resets'])
def test_the_kernel_knows_whether_the_peer_has_ended(how):
    with stream_pair() as (stream, other):
        assert not tcp_info.has_ended(stream.transport)
        other.sendall(b'x')
        if how == 'ends':
            other.shutdown(socket.SHUT_WR)
        elif how == 'resets':
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            other.close()
        assert tcp_info.has_ended(stream.transport) == (how != 'sends')


def test_of_other_sockets_than_tcp_the_kernel_does_not_know_the_end():
    one, other = socket.socketpair()
    other.close()
    assert not tcp_info.has_ended(one)
    one.close()

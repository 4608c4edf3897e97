"""What the kernel knows of connections."""
from __future__ import absolute_import, division, print_function

import socket

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

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


def test_nothing_is_known_of_what_is_no_tcp_connection():
    one, other = socket.socketpair()
    try:
        assert tcp_info.silence(one) is None
    finally:
        one.close()
        other.close()

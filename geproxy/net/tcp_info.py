"""Asks the kernel about a TCP connection. Only Linux answers."""
from __future__ import absolute_import, division, print_function

import socket
import struct

_TCP_INFO = getattr(socket, 'TCP_INFO', None)
_OVER = (b'\x07', b'\x08')     # the states CLOSE and CLOSE_WAIT, the first octet of struct tcp_info
_find_times = struct.Struct('=44xI4xI')         # of struct tcp_info: milliseconds since data was sent, received


def silence(sock):
    """Return the seconds since `sock`, a socket, last sent or received octets; None if the kernel does not say."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _find_times.size)
        return min(_find_times.unpack(info)) / 1000
    except (socket.error, struct.error, TypeError):
        return None                     # not TCP, not Linux


def has_ended(sock):
    """Return True if the kernel knows that the peer of `sock`, a socket, will send no more, or has reset it."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1) in _OVER
    except (socket.error, TypeError):
        return False                    # not TCP, not Linux

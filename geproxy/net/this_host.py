"""Asks the kernel whether an address belongs to this host. Remembers nothing, decides nothing."""
from __future__ import absolute_import, division, print_function

import errno
import socket
import struct

from geproxy.compat import NativeSocket
from geproxy.net.address import IP, show_ip

_NLMSG_ERROR, _RTM_NEWROUTE, _RTM_GETROUTE = 2, 24, 26         # of linux/netlink.h, linux/rtnetlink.h
_DELIVERED_HERE = (2, 3, 4)     # RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def is_local(ip):
    """Return True if octets sent to `ip`, an IP, stay on this host.

    That is a loopback address, an address of an interface, or one that the routing table takes for its own.
    """
    if not ip.value or ip.version == 4 and ip.value >> 24 == 127 or ip == IP(6, 1):
        return True
    try:
        kind = _route_kind(ip)
    except (socket.error, struct.error):
        kind = None
    return can_bind(ip) if kind is None else kind in _DELIVERED_HERE


def _route_kind(ip):
    """Return the kind of the kernel's route to `ip` (RTN_...; 0 without a route), or None if it does not tell.

    Raises socket.error where there is no netlink, as in some sandboxes and on other systems than Linux.
    """
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    packed = socket.inet_pton(family, show_ip(ip))
    # struct nlmsghdr, struct rtmsg, and one attribute: RTA_DST (rtnetlink(7))
    question = struct.pack('=IHHII8BIHH', 32 + len(packed), _RTM_GETROUTE, 1, 0, 0, family, 8 * len(packed), 0, 0, 0, 0,
                           0, 0, 0, 4 + len(packed), 1) + packed
    asked = NativeSocket(getattr(socket, 'AF_NETLINK', -1), socket.SOCK_RAW, 0)
    try:
        asked.send(question)
        answer = asked.recv(4096, socket.MSG_DONTWAIT)         # the answer is there at once, or never
    finally:
        asked.close()
    kind, = struct.unpack('=4xH', answer[:6])
    if kind == _NLMSG_ERROR:
        return None if -struct.unpack('=i', answer[16:20])[0] in (errno.EOPNOTSUPP, errno.EPERM) else 0
    return struct.unpack('=B', answer[23:24])[0] if kind == _RTM_NEWROUTE else None


def can_bind(ip):
    """Return True if a socket can be bound to `ip`, an IP: mostly only to addresses of this host.

    Linux can be told to allow all addresses (ip_nonlocal_bind), so the route is asked for first. Return True also if no
    socket can be opened, because a wrong True only refuses a client.
    """
    probe = None
    try:
        probe = socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        probe.bind((show_ip(ip), 0))
        return True
    except socket.error as error:
        return error.args[0] in _SHORT
    finally:
        if probe is not None:
            probe.close()

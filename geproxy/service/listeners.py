"""Listening sockets: open them, or take over those that supervisord or systemd has opened.

If a socket cannot be opened, a ListenError says why and what to do, in one line.
"""
from __future__ import absolute_import, division, print_function

import array
import errno
import os
import re
import socket
import struct
import sys

from geproxy.compat import native_getaddrinfo
from geproxy.net import unix_sockets
from geproxy.net.address import parse_ip, unmap
from geproxy.net.stream import tune
from geproxy.net.this_host import is_local
from geproxy.net.unix_sockets import ListenError, close_on_exec
from geproxy.settings.option_types import SYSTEMD, UnixListener

BACKLOG = 1024
_ATTACH_FILTER = 26             # SO_ATTACH_FILTER of Linux, but for a few old architectures
# A classic BPF program of (code, jump if true, jump if false, operand). It sees a segment from its TCP header on: load
# the octet with the flags; if SYN is not set, skip the next line; drop the segment; take all of it.
_NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xffffffff))
_own = set()                    # descriptors of listeners that were opened here, so that no other process has them
_tls = set()                    # descriptors of listeners that take nothing but TLS
FIRST_FD = 3                    # SD_LISTEN_FDS_START


def open_all(listeners, option='[proxy] listen'):
    """Open all listeners of an option, or none.

    `listeners`: a list of option_types.Listener or UnixListener; `option`: where they come from, for messages. Returns
    the listening sockets, one or more for each. Raises ListenError.
    """
    opened, handed = [], handed_over()
    try:
        for listener in listeners:
            found = _open_any(listener, handed, option)
            opened.extend(found)
            (_tls.update if getattr(listener, 'tls', False) else _tls.difference_update)(
                [sock.fileno() for sock in found])
    except ListenError:
        for sock in opened:
            sock.close()
        raise
    return opened


def _open_any(listener, handed, option):
    if isinstance(listener, UnixListener):
        return [unix_sockets.open_listener(listener.path)]
    if listener.fd == SYSTEMD:
        return _take_all(handed)
    if listener.fd is not None:
        return [_take_over(listener.fd)]
    return _open(listener, option)


def _open(listener, option):
    """Return the sockets of one Listener. For `*` there are two, so that IPv4 clients have IPv4 addresses."""
    if listener.host:
        return [_bind(family, sockaddr, option) for family, sockaddr in _resolve(listener)]
    sockets, port = [], listener.port
    for family, host in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
        try:
            sockets.append(_bind(family, (host, port), option))
        except ListenError as error:
            if family == socket.AF_INET6 and error.args[1] in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                continue                        # this host has no IPv6
            for sock in sockets:
                sock.close()
            raise
        port = sockets[0].getsockname()[1]      # for port 0: the same in both families
    return sockets


def _resolve(listener):
    try:
        # In this thread: no client is served yet, and a pool with a thread that waits would delay the exit.
        found = native_getaddrinfo(listener.host, listener.port, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise ListenError("cannot listen on '%s': %s" % (listener.host, error.args[-1]), 0)
    return sorted(set((family, sockaddr) for family, _type, _proto, _name, sockaddr in found))


def _bind(family, sockaddr, option):
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except socket.error as error:
        raise ListenError('cannot open a socket: %s' % error, error.args[0])
    try:
        close_on_exec(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tune(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
        _own.add(sock.fileno())
    except socket.error as error:
        sock.close()
        raise ListenError(_explain(sockaddr, error.args[0], option), error.args[0])
    return sock


def _explain(sockaddr, code, option):
    host, port = sockaddr[:2]
    where = 'cannot listen on %s port %d' % (host, port)
    if code == errno.EADDRINUSE:
        holder = who_listens(port)
        return '%s: the port is in use%s; stop that program, or choose another port in %s' % (
            where, ' by %s' % holder if holder else '', option)
    if code == errno.EACCES:
        return '%s: only root may use ports below 1024; choose a higher one in %s, or let supervisord open it ' \
               '(fd:0)' % (where, option)
    if code == errno.EADDRNOTAVAIL:
        return '%s: this host does not have that address; choose another one in %s' % (where, option)
    return '%s: %s' % (where, os.strerror(code))


def is_own(sock):
    """Return True if `sock`, a listening socket, was opened here, so that no other process has it."""
    return sock.fileno() in _own


def is_tls(sock):
    """Return True if `sock`, a listening socket, takes nothing but TLS."""
    return sock.fileno() in _tls


def refuse_new(sock):
    """Let the kernel ignore new clients of a listener from now on. Clients in the middle of connecting go on.

    `sock`: the listening socket. Without this, a client that comes between the last accept() and the close() is
    connected and then reset. A client that is ignored tries again after a second; then nothing listens there, or the
    next process does. Returns True if the kernel does it. It is never done for a listener that other processes share.
    """
    if not is_own(sock) or not sys.platform.startswith('linux'):
        return False
    program = array.array('B', b''.join(struct.pack('=HBBI', *step) for step in _NO_SYN))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack('@HP', len(_NO_SYN), program.buffer_info()[0]))
    except socket.error:
        return False                            # not a real kernel, as in some sandboxes
    return True


def handed_over():
    """Return the descriptors of the sockets that systemd has opened for this process (sd_listen_fds(3)), a list.

    Removes the variables that tell it from the environment, so that no child process uses these sockets.
    """
    pid, count = os.environ.pop('LISTEN_PID', ''), os.environ.pop('LISTEN_FDS', '')
    os.environ.pop('LISTEN_FDNAMES', '')
    if pid != '%d' % os.getpid() or not count.isdigit():
        return []
    return list(range(FIRST_FD, FIRST_FD + int(count)))


def _take_all(descriptors):
    if not descriptors:
        raise ListenError('systemd has handed over no sockets: make a .socket unit and start that with systemctl; see '
                          'conf/geproxy.socket', 0)
    return [_take_over(fd) for fd in descriptors]


def _take_over(fd):
    """Return the listening socket that supervisord or systemd left open as descriptor `fd`. Raises ListenError."""
    try:
        probe = socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(_version(probe))
        finally:
            probe.close()
    except socket.error as error:
        raise ListenError('fd:%d is not a socket (%s): in the configuration of supervisord, the section must be '
                          '[fcgi-program:...], not [program:...]' % (
                              fd, os.strerror(error.args[0])), error.args[0])
    if not listening or family is None:
        raise ListenError('fd:%d is not a listening TCP socket' % fd, 0)
    sock = socket.fromfd(fd, family, socket.SOCK_STREAM)
    _own.discard(sock.fileno())
    close_on_exec(sock)
    tune(sock)
    return sock


def _version(sock):
    """Return 4 or 6 for a socket of that version of IP, else None."""
    name = sock.getsockname()
    return (6 if len(name) == 4 else 4) if isinstance(name, tuple) and len(name) in (2, 4) else None


def own_test(addresses):
    """Return a function of (IP, port) that returns True if a connection to that address reaches one of our listeners.

    `addresses`: (address as native text, port) of each listener.
    """
    wildcards, exact = set(), set()
    for host, port in addresses:
        ip = unmap(parse_ip(host))
        (exact if ip.value else wildcards).add((ip, port))
    ports = set(port for _ip, port in wildcards)

    def is_own(ip, port):
        """Return True if that address (an address.IP) and port are those of one of our listeners."""
        if (ip, port) in exact:
            return True
        if not ip.value and any(port == other for _ip, other in exact):
            return True                         # dialling 0.0.0.0 reaches this host
        return port in ports and is_local(ip)
    return is_own


def who_listens(port):
    """Return which process listens on a port, as 'process 123 (nginx)'; '' if /proc does not tell."""
    inodes = set()
    for table in ('/proc/net/tcp', '/proc/net/tcp6'):
        try:
            with open(table) as lines:
                rows = [line.split() for line in lines]
        except (IOError, OSError):
            continue                            # not Linux, or not readable for this user
        inodes.update(row[9] for row in rows[1:] if row[3] == '0A' and int(row[1].rpartition(':')[2], 16) == port)
    for pid in filter(str.isdigit, os.listdir('/proc') if os.path.isdir('/proc') else ()):
        try:
            for fd in os.listdir('/proc/%s/fd' % pid):
                match = re.match(r'socket:\[([0-9]+)\]', os.readlink('/proc/%s/fd/%s' % (pid, fd)))
                if match and match.group(1) in inodes:
                    with open('/proc/%s/comm' % pid) as comm:
                        return 'process %s (%s)' % (pid, comm.read().strip())
        except (IOError, OSError):
            continue                            # the process has ended, or belongs to another user
    return ''

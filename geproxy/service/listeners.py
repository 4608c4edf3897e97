"""Listening sockets: opened, or taken over from whoever keeps us; and why one cannot be had, in one line."""
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
# A classic BPF program of (code, jump if true, if false, operand), for a segment from its TCP header on: load the octet
# of the flags; if SYN is not among them, skip one; take nothing; take all.
_NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xffffffff))
_own = set()                    # descriptors of listeners that were opened here: no other process has them
FIRST_FD = 3                    # SD_LISTEN_FDS_START


def open_all(listeners, option='[proxy] listen'):
    """option_types.Listeners -> sockets, listening. `option`: that they come from. Raises ListenError."""
    opened, handed = [], handed_over()
    try:
        for listener in listeners:
            opened.extend(_open_any(listener, handed, option))
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
    """Both families for `*`: two sockets, so that IPv4 clients have IPv4 addresses."""
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
        # In this thread: nobody waits yet, and one of a pool would be in the way of an exit at once.
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
        return '%s: it is in use%s; stop that, or choose another port in %s' % (
            where, ', by %s' % holder if holder else '', option)
    if code == errno.EACCES:
        return '%s: ports below 1024 are for root; choose one from 1024 on in %s, or let supervisord open it ' \
               '(fd:0)' % (where, option)
    if code == errno.EADDRNOTAVAIL:
        return '%s: this host has no such address' % where
    return '%s: %s' % (where, os.strerror(code))


def is_own(sock):
    """Return True if a listener was opened here, so that no other process has it."""
    return sock.fileno() in _own


def hush(sock):
    """Have the kernel drop, from now on, what asks for a new connection to a listener: true if it does. What has begun
    to connect goes on.

    Who comes between the last accept() and the close() would be connected, and then reset. What is dropped comes again
    after a second, when there is nobody, or the next process. Not for a listener that is also another's.
    """
    if not is_own(sock) or not sys.platform.startswith('linux'):
        return False
    program = array.array('B', b''.join(struct.pack('=HBBI', *step) for step in _NO_SYN))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack('@HP', len(_NO_SYN), program.buffer_info()[0]))
    except socket.error:
        return False                            # a kernel that is none, as in a sandbox
    return True


def handed_over():
    """The descriptors of sockets that systemd has opened for this process (sd_listen_fds(3)). What says so is taken
    away: nobody that we start may take them for theirs."""
    pid, count = os.environ.pop('LISTEN_PID', ''), os.environ.pop('LISTEN_FDS', '')
    os.environ.pop('LISTEN_FDNAMES', '')
    if pid != '%d' % os.getpid() or not count.isdigit():
        return []
    return list(range(FIRST_FD, FIRST_FD + int(count)))


def _take_all(descriptors):
    if not descriptors:
        raise ListenError('systemd has handed over no sockets: is there a .socket unit, and did systemctl start that? '
                          'See conf/geproxy.socket', 0)
    return [_take_over(fd) for fd in descriptors]


def _take_over(fd):
    """The listening socket that supervisord or systemd left open as `fd`."""
    try:
        probe = socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(_version(probe))
        finally:
            probe.close()
    except socket.error as error:
        raise ListenError('fd:%d is no socket (%s): is the section [fcgi-program:...], not [program:...]?' % (
            fd, os.strerror(error.args[0])), error.args[0])
    if not listening or family is None:
        raise ListenError('fd:%d is no listening TCP socket' % fd, 0)
    sock = socket.fromfd(fd, family, socket.SOCK_STREAM)
    _own.discard(sock.fileno())
    close_on_exec(sock)
    tune(sock)
    return sock


def _version(sock):
    name = sock.getsockname()
    return (6 if len(name) == 4 else 4) if isinstance(name, tuple) and len(name) in (2, 4) else None


def own_test(places):
    """A function of (IP, port): is that one of our listeners, under whatever address of this host? `places`: [(address
    as native text, port)] of these."""
    wildcards, exact = set(), set()
    for host, port in places:
        ip = unmap(parse_ip(host))
        (exact if ip.value else wildcards).add((ip, port))
    ports = set(port for _ip, port in wildcards)

    def is_own(ip, port):
        """True if dialling that address and port would end here."""
        if (ip, port) in exact:
            return True
        if not ip.value and any(port == other for _ip, other in exact):
            return True                         # 0.0.0.0 is this host
        return port in ports and is_local(ip)
    return is_own


def who_listens(port):
    """Who has that port, as 'process 123 (nginx)', as far as /proc tells; else ''."""
    inodes = set()
    for table in ('/proc/net/tcp', '/proc/net/tcp6'):
        try:
            with open(table) as lines:
                rows = [line.split() for line in lines]
        except (IOError, OSError):
            continue                            # not Linux, or not for us: then it is not known
        inodes.update(row[9] for row in rows[1:] if row[3] == '0A' and int(row[1].rpartition(':')[2], 16) == port)
    for pid in filter(str.isdigit, os.listdir('/proc') if os.path.isdir('/proc') else ()):
        try:
            for fd in os.listdir('/proc/%s/fd' % pid):
                match = re.match(r'socket:\[([0-9]+)\]', os.readlink('/proc/%s/fd/%s' % (pid, fd)))
                if match and match.group(1) in inodes:
                    with open('/proc/%s/comm' % pid) as comm:
                        return 'process %s (%s)' % (pid, comm.read().strip())
        except (IOError, OSError):
            continue                            # it ended meanwhile, or belongs to somebody else
    return ''

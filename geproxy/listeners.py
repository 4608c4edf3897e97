"""Listening sockets: opened, or taken over from whoever keeps us; and why one cannot be had, in one line."""
from __future__ import absolute_import, division, print_function

import errno
import fcntl
import os
import re
import socket

from geproxy.address import IP, parse_ip, show_ip, unmap
from geproxy.compat import native_getaddrinfo
from geproxy.kinds import SYSTEMD
from geproxy.stream import tune

BACKLOG = 1024
FIRST_FD = 3                    # SD_LISTEN_FDS_START


class ListenError(Exception):
    """A listener cannot be had; the message says why, and what to do."""


def open_all(listeners):
    """kinds.Listeners -> sockets, listening. Raises ListenError."""
    opened, handed = [], handed_over()
    try:
        for listener in listeners:
            opened.extend(_take_all(handed) if listener.fd == SYSTEMD else [_take_over(listener.fd)]
                          if listener.fd is not None else _open(listener))
    except ListenError:
        for sock in opened:
            sock.close()
        raise
    return opened


def _open(listener):
    """Both families for `*`: two sockets, so that IPv4 clients have IPv4 addresses."""
    if listener.host:
        return [_bind(family, sockaddr) for family, sockaddr in _resolve(listener)]
    sockets, port = [], listener.port
    for family, host in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
        try:
            sockets.append(_bind(family, (host, port)))
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


def _bind(family, sockaddr):
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
    except socket.error as error:
        sock.close()
        raise ListenError(_explain(sockaddr, error.args[0]), error.args[0])
    return sock


def _explain(sockaddr, code):
    host, port = sockaddr[:2]
    where = 'cannot listen on %s port %d' % (host, port)
    if code == errno.EADDRINUSE:
        holder = who_listens(port)
        return '%s: it is in use%s; stop that, or choose another port in [proxy] listen' % (
            where, ', by %s' % holder if holder else '')
    if code == errno.EACCES:
        return '%s: ports below 1024 are for root; choose one from 1024 on in [proxy] listen, or let supervisord ' \
               'open it (fd:0)' % where
    if code == errno.EADDRNOTAVAIL:
        return '%s: this host has no such address' % where
    return '%s: %s' % (where, os.strerror(code))


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
    close_on_exec(sock)
    tune(sock)
    return sock


def _version(sock):
    name = sock.getsockname()
    return (6 if len(name) == 4 else 4) if isinstance(name, tuple) and len(name) in (2, 4) else None


def close_on_exec(sock):
    """What we start must not hold our sockets; Python 2 does not see to that."""
    fcntl.fcntl(sock.fileno(), fcntl.F_SETFD, fcntl.fcntl(sock.fileno(), fcntl.F_GETFD) | fcntl.FD_CLOEXEC)


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


def is_local(ip):
    """True if `ip` is an address of this host: only to such can a socket be bound."""
    if not ip.value or ip.version == 4 and ip.value >> 24 == 127 or ip == IP(6, 1):
        return True
    probe = None
    try:
        probe = socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        probe.bind((show_ip(ip), 0))
        return True
    except socket.error:
        return False
    finally:
        if probe is not None:
            probe.close()


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

"""The origins for all proxies: nginx for downloads, a sink for uploads.

The sink is a program of its own, with a process for each connection: python origin.py PORT
"""
from __future__ import absolute_import, division, print_function

import fcntl
import os
import socket
import sys

import peers
from program import HOST, Failed, Program, find, free_port

SMALL = 1024                    # octets of /1k
BIND_TO_DEVICE = 25                       # SO_BINDTODEVICE


class Origin(object):
    """Both servers. `port`: of nginx; `sink`: port of the sink."""

    def __init__(self, folder, octets):
        """Start both. `folder`: for files; `octets`: size of /large. Raises Failed."""
        if not find('nginx'):
            raise Failed('nginx is not installed, and it is the origin. Try: apt-get install nginx-light')
        self.port, self.sink = free_port(), free_port()
        os.mkdir(os.path.join(folder, 'www'))
        with open(os.path.join(folder, 'www', '1k'), 'wb') as opened:
            opened.write(b'x' * SMALL)
        with open(os.path.join(folder, 'www', 'large'), 'wb') as opened:
            opened.truncate(octets)             # sparse: it takes no room on the disk
        self._folder = folder
        self._programs = []
        self._start_nginx()
        self._programs.append(Program(
            [sys.executable, os.path.abspath(__file__), str(self.sink)], os.path.join(folder, 'sink.out')))
        self._programs[-1].wait_for(self.sink)

    def _start_nginx(self):
        """Start nginx on loopback: on all of 127.0.0.0/8 if this user may, for the curve with many hosts."""
        listening, handed, more_env = None, None, {}
        try:
            listening = socket.socket()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, BIND_TO_DEVICE, b'lo\0')
            listening.bind(('0.0.0.0', self.port))
            listening.listen(4096)
            listening.setblocking(False)
            listen = '0.0.0.0:%d' % self.port
            # nginx takes over a socket whose number it finds in that variable: see its ngx_add_inherited_sockets.
            handed = fcntl.fcntl(listening.fileno(), fcntl.F_DUPFD, 50)
            more_env = {'NGINX': '%d;' % handed}
        except (socket.error, OSError):
            listen = '%s:%d' % (HOST, self.port)
        self.many_hosts = handed is not None
        path = peers.configure('origin.conf', self._folder, listen=listen)
        self._programs.append(Program(
            [find('nginx'), '-c', path, '-p', self._folder, '-e', os.path.join(self._folder, 'origin.err')],
            os.path.join(self._folder, 'origin.out'), more_env=more_env, close_fds=handed is None))
        listening.close()
        if handed is not None:
            os.close(handed)
        self._programs[-1].wait_for(self.port)

    def stop(self):
        """End both."""
        for program in self._programs:
            program.stop()


# --- the sink --------------------------------------------------------------------------------------------------------

def swallow(sock):
    """Read requests, with Content-Length or in chunks. Answer each one when its body is complete."""
    scratch = bytearray(1 << 20)
    while True:
        data = b''
        while b'\r\n\r\n' not in data:
            more = sock.recv(65536)
            if not more:
                return
            data += more
        head, _, rest = data.partition(b'\r\n\r\n')
        lengths = [line.partition(b':')[2] for line in head.lower().split(b'\r\n') if line.startswith(b'content-length:')]
        if lengths:
            left = int(lengths[0]) - len(rest)
            while left > 0:
                count = sock.recv_into(scratch)
                if not count:
                    return
                left -= count
        else:
            # Bodies are zeros, so the octets of the last chunk cannot occur inside one.
            end = rest[-5:]
            while end != b'0\r\n\r\n':
                count = sock.recv_into(scratch)
                if not count:
                    return
                end = (end + bytes(scratch[max(0, count - 5):count]))[-5:]
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')


def serve(port):
    """Run the sink: accept connections, and fork a process for each."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen(100)
    while True:
        sock, _peer = listener.accept()
        while True:                         # reap processes that have ended
            try:
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    break
            except OSError:
                break
        if not os.fork():
            listener.close()
            try:
                swallow(sock)
            except socket.error:
                pass                        # the proxy has closed the connection
            os._exit(0)
        sock.close()


if __name__ == '__main__':
    serve(int(sys.argv[1]))

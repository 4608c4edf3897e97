"""Origins and clients at their worst, all at once, at a real process: each ends as the table says, and nobody else
waits, nothing is left behind."""
from __future__ import absolute_import, division, print_function

import json
import os
import re
import socket
import struct

import gevent
import pytest
from helpers import PATIENCE, connect, listening, read_all, read_until
from processes import Client, get, metric, read, running, wait_until

pytestmark = pytest.mark.programs

RESET = struct.pack('ii', 1, 0)
OFTEN = 0.2             # seconds between two octets of who trickles
HEAD = b'HTTP/1.1 200 OK\r\n'
CHUNKED = HEAD + b'Transfer-Encoding: chunked\r\n\r\n'
INI = """
[timeouts]
head = 700ms
idle = 700ms
response = 700ms
body = 700ms
linger = 700ms
[upstream]
keep = 0
[log]
access = FOLDER/access.log
format = json
[admin]
listen = unix:FOLDER/admin.sock
"""


# --- what origins do: the path says it

def trickle(sock, octets, start=b''):
    """An octet now and then, for ever."""
    sock.sendall(start)
    while True:
        for at in range(len(octets)):
            sock.sendall(octets[at:at + 1])
            gevent.sleep(OFTEN)


def flood(sock, octets, start=b''):
    """The same for ever, as fast as it goes."""
    sock.sendall(start)
    while True:
        sock.sendall(octets * 100)


def reset(sock, start=b''):
    """A reset, behind what it has sent."""
    sock.sendall(start)
    gevent.sleep(OFTEN)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


EITHER = 0              # 502 if the first octets of the body come along with the head, 200 if they come later

# path: (what the origin does, status, reason in the log)
ORIGINS = {
    b'silent': (lambda sock: sock.recv(1), 504, 'http_response_timeout'),
    b'trickles-head': (lambda sock: trickle(sock, b'a: b\r\n', HEAD), 504, 'http_response_timeout'),
    b'resets': (reset, 502, 'connection_terminated'),
    b'resets-in-head': (lambda sock: reset(sock, HEAD + b'Date: '), 502, 'connection_terminated'),
    b'resets-in-body': (lambda sock: reset(sock, HEAD + b'Content-Length: 9\r\n\r\nabc'), 200, 'connection_terminated'),
    b'stalls-in-body': (lambda sock: sock.sendall(HEAD + b'Content-Length: 9\r\n\r\nabc') or sock.recv(1), 200,
                        'connection_read_timeout'),
    b'floods-fields': (lambda sock: flood(sock, b'a: b\r\n', HEAD), 502, 'http_response_header_section_size'),
    b'floods-a-field': (lambda sock: flood(sock, b'a', HEAD + b'a: '), 502, 'http_response_header_section_size'),
    b'floods-a-status-line': (lambda sock: flood(sock, b'a', b'HTTP/1.1 200 '), 502,
                              'http_response_header_section_size'),
    b'floods-interim': (lambda sock: flood(sock, b'HTTP/1.1 102 Wait\r\n\r\n'), 502, 'http_protocol_error'),
    b'floods-a-chunk-size': (lambda sock: flood(sock, b'0', CHUNKED), EITHER, 'http_response_transfer_coding'),
    b'floods-trailers': (lambda sock: flood(sock, b'a: b\r\n', CHUNKED + b'1\r\na\r\n0\r\n'), EITHER,
                         'http_response_transfer_coding'),
    b'never-ends-a-chunk': (lambda sock: sock.sendall(CHUNKED + b'5\r\nabc') or sock.recv(1), 200,
                            'connection_read_timeout'),
}
# The client leaves these behind a moment, as they could go on for ever.
ENDLESS = {
    b'never-ends-its-chunks': lambda sock: flood(sock, b'5\r\nabcde\r\n', CHUNKED),
    b'trickles-its-body': lambda sock: trickle(sock, b'a', HEAD + b'Content-Length: 100000\r\n\r\n'),
}


def origin(sock):
    """Any of them; or a sound one."""
    try:
        path = read_until(sock, b'\r\n\r\n').split(b' ')[1][1:]
        if path in ORIGINS:
            ORIGINS[path][0](sock)
        elif path in ENDLESS:
            ENDLESS[path](sock)
        else:
            sock.sendall(HEAD + b'Connection: close\r\nContent-Length: 4\r\n\r\nfine')
    except (socket.error, socket.timeout, IndexError):
        pass                            # geproxy has left, as it should


# --- what clients do

def asks(proxy, place, path):
    """A client that wants it all."""
    with Client(proxy.address) as client:
        client.send(get(place, b'/' + path))
        return read_all(client.socket)


def leaves(proxy, place, path):
    """A client that reads for a moment, and leaves."""
    with Client(proxy.address) as client:
        client.send(get(place, b'/' + path))
        while len(client.socket.recv(65536)) > 10:
            gevent.sleep(OFTEN / 10)
            if path == b'never-ends-its-chunks':
                break


def reads_nothing(proxy, place):
    """A client that has no use for what it asked for, and stays."""
    with Client(proxy.address) as client:
        client.send(get(place, b'/never-ends-its-chunks'))
        wait_until(lambda: b'client_write_timeout' in log_of(proxy), 'the cut')


def trickles(proxy, octets):
    """A client that takes its time -> what it gets."""
    with Client(proxy.address) as client:
        client.socket.settimeout(OFTEN)
        while True:
            try:
                client.send(octets)
                return client.socket.recv(65536)
            except socket.timeout:
                pass
            except socket.error:
                return b''


def says_nothing(proxy):
    """A client that connects -> what it gets."""
    sock = connect(proxy.address)
    try:
        return read_all(sock)
    finally:
        sock.close()


# --- the test

def log_of(proxy):
    """The octets of the access log."""
    return read(os.path.join(proxy.folder, 'access.log'))


def figures(proxy):
    """(connections, file descriptors, octets of memory) of the process."""
    return tuple(metric(proxy, name) for name in (
        'geproxy_connections', 'process_open_fds', 'process_resident_memory_bytes'))


def test_bad_origins_and_clients_end_correctly_and_delay_no_other():
    with listening(origin) as place, running(INI) as proxy:
        assert asks(proxy, place, b'sound').endswith(b'fine')
        assert b'"reason"' not in log_of(proxy)
        descriptors, memory = figures(proxy)[1:]
        bad = dict((path, gevent.spawn(asks, proxy, place, path)) for path in ORIGINS)
        others = [gevent.spawn(leaves, proxy, place, path) for path in ENDLESS]
        others += [gevent.spawn(reads_nothing, proxy, place)]
        late = [gevent.spawn(trickles, proxy, b'X-a: b\r\n'), gevent.spawn(trickles, proxy, b'GET')]
        silent = gevent.spawn(says_nothing, proxy)
        for _ in range(50):
            connect(proxy.address).close()
        while not all(each.ready() for each in list(bad.values()) + others + late + [silent]):
            with gevent.Timeout(PATIENCE):
                assert asks(proxy, place, b'sound').endswith(b'fine')
            gevent.sleep(0.05)
        for path, (_act, status, _reason) in ORIGINS.items():
            assert int(re.findall(br'HTTP/1\.1 (\d+) ', bad[path].value)[-1]) in (status, status or 200, status or 502), path
        assert silent.value == b''
        wait_until(lambda: figures(proxy)[0] == 0, 'all connections to end')
        wait_until(lambda: figures(proxy)[1] <= descriptors + 2, 'all descriptors')     # and a pipe that is kept
        assert figures(proxy)[2] < memory + (20 << 20)
        lines = [json.loads(line.decode('ascii')) for line in log_of(proxy).splitlines()]
        told = dict((line['url.original'].rpartition('/')[2].encode('ascii'), line.get('reason')) for line in lines)
        for path, (_act, _status, reason) in ORIGINS.items():
            assert told[path] == reason, path
        assert b'Traceback' not in proxy.err

"""Clients that hold connections by being slow, by the hundred, while a sound one measures what it gets.

    python tests/slow.py                        the three attacks of slowhttptest with 1,000 connections each
    python tests/slow.py --tool slowhttptest    the same by that program itself
    python tests/slow.py --connections 200 --rounds 1

It shows the 99th percentile of the sound client's times, quiet and under attack by turns. Loopback only.
"""
from __future__ import absolute_import, division, print_function

if __name__ == '__main__':
    from gevent import monkey
    monkey.patch_all()

import argparse     # noqa: E402
import contextlib   # noqa: E402
import os           # noqa: E402
import socket       # noqa: E402
import sys          # noqa: E402

import gevent       # noqa: E402

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
                os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from helpers import listening, read_until                               # noqa: E402
from processes import PYTHON, Client, get, metric, process, running, wait_until     # noqa: E402

from geproxy.compat import monotonic                                    # noqa: E402

ATTACKS = ('headers', 'body', 'read')
TOOL = {'headers': ['-H'], 'body': ['-B'], 'read': ['-X', '-w', '512', '-y', '1024', '-n', '1', '-z', '8', '-k', '1']}
EVERY = 10.0            # seconds between two lines, or octets, of a slow client, as slowhttptest has it by default
BEGINNING = 0.5         # seconds that are not measured once all are connected ...
SETTLING = 0.003        # ... and for each of them: all buffers on its way are being filled
LARGE = b'x' * (4 << 20)        # what slow readers ask for: one for all, or this process would need 4 GB of memory
# An attacker has processors of its own: here it gets those that nobody else wants. slowhttptest alone takes one whole.
ASIDE = ['nice', '-n', '10']
REQUESTS = 2000         # of the sound client in a round
INI = '[admin]\nlisten = unix:FOLDER/admin.sock\n[log]\naccess = FOLDER/access.log\n'


# --- the attacker, a process of its own so that it does not measure itself

def attack(kind, address, place, count, every):
    """Hold `count` connections to a proxy, for ever."""
    gevent.joinall([gevent.spawn(hold, kind, address, place, every, every * (0.1 + 0.9 * number / count))
                    for number in range(count)])


def hold(kind, address, place, every, first):
    """One after the other, as long as there is somebody to take it."""
    while True:
        try:
            hold_one(kind, address, place, every, first)
        except (socket.timeout, socket.error):
            gevent.sleep(1)


def hold_one(kind, address, place, every, first):
    """One connection that takes its time, until it is cut. `first`: seconds until it goes on: not all at once."""
    sock = socket.socket()
    try:
        if kind == 'read':
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        sock.connect(address)
        if kind == 'read':
            sock.sendall(get(place, b'/large'))
        elif kind == 'body':
            sock.sendall(get(place, b'/', b'Content-Length: 1000000\r\n').replace(b'GET', b'POST', 1))
        else:
            sock.sendall(get(place)[:-2])
        sock.settimeout(first)
        while True:
            try:
                if not sock.recv(1):
                    return
                gevent.sleep(every if kind == 'read' else 0)
            except socket.timeout:
                sock.settimeout(every)
            if kind != 'read':
                sock.sendall(b'X-a: b\r\n')
    finally:
        sock.close()


# --- measuring

def origin(sock):
    """It is sound, and answers at once, as much as is asked for."""
    try:
        while True:
            head = read_until(sock, b'\r\n\r\n')
            if not head:
                return
            if head.startswith(b'POST'):
                while sock.recv(65536):
                    pass
                return
            size = len(LARGE) if head.startswith(b'GET /large') else 1000
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % size + LARGE[:1000])
            sock.sendall(memoryview(LARGE)[1000:size])
    except (socket.timeout, socket.error):
        pass                            # as slow clients have it


def sound(address, place, requests):
    """A client that asks, every second time on a new connection -> the seconds that each took."""
    took = []
    kept = Client(address)
    try:
        for _ in range(requests // 2):
            for fresh in (False, True):
                began = monotonic()
                client = Client(address) if fresh else kept
                try:
                    assert client.ask(get(place)).startswith(b'HTTP/1.1 200 ')
                finally:
                    if fresh:
                        client.socket.close()
                took.append(monotonic() - began)
    finally:
        kept.socket.close()
    return took


def percentile(took, part):
    """Of seconds, in milliseconds."""
    return sorted(took)[len(took) * part // 100] * 1000


@contextlib.contextmanager
def attacked(kind, proxy, place, count, every, tool=''):
    """The attack goes on, with nearly all of its connections."""
    if tool:
        command = [tool] + TOOL[kind] + ['-c', str(count), '-r', str(count), '-i', '%d' % every, '-l', '600', '-p', '5',
                                         '-d', '%s:%d' % proxy.address,
                                         '-u', 'http://%s:%d/%s' % (place + ('large' if kind == 'read' else '',))]
    else:
        command = PYTHON + [os.path.abspath(__file__), '--attack', kind, '--connections', str(count),
                            '--every', str(every), '--addresses', '%s:%d' % proxy.address, '%s:%d' % place]
    with process(ASIDE + command) as attacker:
        wait_until(lambda: metric(proxy, 'geproxy_connections') >= count * 0.95, 'the attack')
        gevent.sleep(BEGINNING + SETTLING * count)      # which is no slow attack yet
        yield attacker
    wait_until(lambda: metric(proxy, 'geproxy_connections') == 0, 'the end of the attack')


def rounds(kind, count, number, tool='', every=EVERY, requests=REQUESTS):
    """Measure by turns, one round after the other: (quiet, under attack) of `sound`, octets of memory by then."""
    with listening(origin) as place, running(INI) as proxy:
        sound(proxy.address, place, requests)
        for _ in range(number):
            quiet = sound(proxy.address, place, requests)
            with attacked(kind, proxy, place, count, every, tool):
                under = sound(proxy.address, place, requests)
                assert metric(proxy, 'geproxy_connections') >= count * 0.9
                memory = metric(proxy, 'process_resident_memory_bytes')
            yield quiet, under, memory
        assert b'Traceback' not in proxy.err


def main(arguments=None):
    """Do what the command line says; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--connections', type=int, default=1000, metavar='N')
    parser.add_argument('--rounds', type=int, default=5, metavar='N')
    parser.add_argument('--every', type=float, default=EVERY, metavar='SECONDS', help='between two lines (10)')
    parser.add_argument('--tool', default='', metavar='PROGRAM', help='slowhttptest, for it to attack')
    parser.add_argument('--attack', choices=ATTACKS, help=argparse.SUPPRESS)
    parser.add_argument('--addresses', nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.attack:
        address, place = [(host, int(port)) for host, port in (each.split(':') for each in options.addresses)]
        attack(options.attack, address, place, options.connections, options.every)
    for kind in ATTACKS:
        found = list(rounds(kind, options.connections, options.rounds, options.tool, options.every))
        quiet, under = ([percentile(sum((each[at] for each in found), []), part) for part in (99, 50)] for at in (0, 1))
        print('%-8s %d connections: p99 quiet %.1f ms, under attack %.1f ms (x %.2f), by round %s; median %.2f and '
              '%.2f ms; memory %.0f MiB' % (
                  kind, options.connections, quiet[0], under[0], under[0] / quiet[0],
                  ' '.join('%.1f/%.1f' % (percentile(each[0], 99), percentile(each[1], 99)) for each in found),
                  quiet[1], under[1], max(each[2] for each in found) / 2.0 ** 20))
        sys.stdout.flush()
    return 0


if __name__ == '__main__':
    sys.exit(main())

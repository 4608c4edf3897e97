"""The scenes: each puts one kind of load on a running proxy and measures what that costs the proxy.

A scene is a function of a Bench that returns {figure: value}. Costs are processor time, because a busy host disturbs it
least. Only latency is measured by the clock.
"""
from __future__ import absolute_import, division, print_function

import collections
import json
import os
import re
import subprocess
import sys
import time

import measure
from load import FIELDS
from program import HOST, Failed, Program, environment, find

CLIENTS = 32
UNABLE = 'cannot'               # outcome of a scene that a peer cannot do
# Scenes that need CONNECT.
TUNNELS = frozenset(['connect', 'tunnel', 'idle-tunnel', 'tls-connect', 'tls-tunnel', 'tls-idle'])
# Ways into and out of a proxy, for the table. '' is the usual one; a proxy is configured for each of the others.
WAYS = collections.OrderedDict([('', 'By HTTP, directly to the origin'), ('parent', 'Through a parent'),
                                ('socks', 'By SOCKS 5 to the proxy'), ('tls', 'By TLS to the proxy')])
WARM = 0.4                      # seconds of load before measuring
HERE = os.path.dirname(os.path.abspath(__file__))
GIB = 1 << 30

# What a scene needs. `proxy`: a Running; `origin`: an Origin; `seconds`: of load; `octets`: of a large body; `idle`: number
# of idle connections; `folder`: for files.
Bench = collections.namedtuple('Bench', 'proxy origin seconds octets idle folder')
# `run`: a function of a Bench; `figures`: [(name, unit)], the main one first; `sentence`: for the table; `way`: of WAYS.
Scene = collections.namedtuple('Scene', 'name run figures sentence way')


# --- generators ------------------------------------------------------------------------------------------------------

STEADY = """
wrk.path = 'http://%(authority)s/1k'
wrk.headers['Host'] = '%(authority)s'
%(fields)s
"""

# As much as possible is prepared once: the script shares the processors with the proxy.
VARYING = """
local number = 0
local first = 'GET http://%(authority)s/1k?article='
local then_ = ' HTTP/1.1\\r\\nHost: %(authority)s\\r\\n%(block)sCookie: session=0f3a7c9e41d2; seen='
function request()
    number = number + 1
    return first .. number .. then_ .. number .. '\\r\\n\\r\\n'
end
"""


def wrk(bench, clients, seconds, varying=False, more_fields=0, port=None, scheme='http'):
    """Run wrk. Return {'done', 'failed', 'p50', 'p99'}, times in microseconds. Raises Failed. `scheme`: of the proxy."""
    authority = '%s:%d' % (HOST, bench.origin.port)
    fields = FIELDS.decode('ascii') + ''.join(
        'X-Field-%d: value number %d\r\n' % (number, number) for number in range(more_fields))
    if varying:
        script = VARYING % {'authority': authority, 'block': fields.replace('\r\n', '\\r\\n')}
    else:
        lines = fields.splitlines() + ['Cookie: session=0f3a7c9e41d2; seen=1']
        script = STEADY % {'authority': authority, 'fields': '\n'.join(
            "wrk.headers['%s'] = '%s'" % tuple(line.split(': ', 1)) for line in lines)}
    path = os.path.join(bench.folder, 'wrk.lua')
    with open(path, 'w') as opened:
        opened.write(script)
    said = _run([find('wrk'), '-t', '1', '-c', str(clients), '-d', '%ds' % max(1, round(seconds)), '--latency', '-s', path,
                 '%s://%s:%d/' % (scheme, HOST, port or bench.proxy.port)], seconds + 20)
    done = re.search(r'(\d+) requests in', said)
    if not done or not int(done.group(1)):
        raise Failed('wrk: ' + ' '.join(said.split())[-300:])
    errors = re.search(r'Non-2xx or 3xx responses: (\d+)', said)
    # Read errors do not count: wrk reports them when a proxy without keep-alive closes.
    broken = [int(number) for number in re.findall(r'(?:connect|write|timeout) (\d+)', said)]
    return {'done': int(done.group(1)), 'failed': sum(broken) + int(errors.group(1) if errors else 0),
            'p50': _microseconds(said, '50%'), 'p99': _microseconds(said, '99%')}


def _microseconds(said, part):
    value, unit = re.search(re.escape(part) + r'\s+([0-9.]+)(us|ms|s)', said).groups()
    return float(value) * {'us': 1, 'ms': 1e3, 's': 1e6}[unit]


def _run(arguments, patience):
    started = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())
    deadline = measure.clock() + patience
    try:
        while started.poll() is None and measure.clock() < deadline:
            time.sleep(0.01)
    finally:
        if started.poll() is None:
            started.kill()
    return started.communicate()[0].decode('utf-8', 'replace')


def load(bench, kind, clients, seconds, octets=0, port=None):
    """Run the clients of load.py. Return what it prints, as a dictionary. Raises Failed."""
    said = _run(_loading(bench, kind, clients, seconds, octets, port), seconds + 40)
    try:
        return json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise Failed('load.py %s: %s' % (kind, said[-300:] or 'it took too long'))


def _loading(bench, kind, clients, seconds=0, octets=0, port=None):
    return [sys.executable, os.path.join(HERE, 'load.py'), kind, str(bench.proxy.port), str(port or bench.origin.port),
            str(clients), str(seconds), str(octets)]


class Holder(object):
    """Holds `count` idle connections open during a with block. `kind`: idle-clients or idle-tunnels."""

    def __init__(self, bench, kind, count):
        self._reading, writing = os.pipe()
        hold, self._let_go = os.pipe()
        with os.fdopen(writing, 'w') as out, os.fdopen(hold) as stdin:
            self._program = Program(_loading(bench, kind, count), os.path.join(bench.folder, 'holder.out'),
                                    stdin=stdin, stdout=out)
        self._count = count

    def __enter__(self):
        self._said = os.fdopen(self._reading)
        said = self._said.readline()
        opened = json.loads(said or '{}').get('done', 0)
        if opened < self._count:
            self.__exit__(Failed)
            raise Failed('only %d of %d connections were opened: %s' % (opened, self._count, said.strip() or self._program.said()))
        return self

    def __exit__(self, kind, *_):
        os.close(self._let_go)
        said = self._said.readline()
        self._said.close()
        self._program.stop()
        lost = json.loads(said or '{}').get('lost', self._count)
        if kind is None and lost:
            raise Failed('the proxy closed idle connections: %d of %d' % (lost, self._count))


# --- requests --------------------------------------------------------------------------------------------------------

def of_requests(bench, run):
    """Measure processor time for each request. `run`: a function of seconds that loads the proxy and returns counts."""
    run(WARM)
    meter = measure.Meter(bench.proxy.pids)
    result = run(bench.seconds)
    return _per_request(meter.read(), result)


def _per_request(spent, result):
    if not result['done'] or result['failed'] > result['done'] / 100:
        raise Failed('%d of %d requests failed: %s' % (
            result['failed'], result['failed'] + result['done'], result.get('why', 'see the log of the proxy')))
    return {'cpu': sum(spent) * 1e6 / result['done'], 'system': spent[1] * 1e6 / result['done'],
            'done': result['done']}


def kept(bench):
    """Measure requests on kept-alive connections."""
    return of_requests(bench, lambda seconds: wrk(bench, CLIENTS, seconds))


def kept_tls(bench):
    """Measure requests on kept-alive connections inside TLS."""
    return of_requests(bench, lambda seconds: wrk(bench, CLIENTS, seconds, scheme='https'))


def varying(bench):
    """Measure requests on kept-alive connections, each with another URL and cookie."""
    return of_requests(bench, lambda seconds: wrk(bench, CLIENTS, seconds, varying=True))


def _one_by_one(kind):
    def run(bench):
        """Measure clients that connect, do one exchange and close."""
        return of_requests(bench, lambda seconds: load(bench, kind, CLIENTS // 2, seconds))
    return run


def latency(bench):
    """Measure the time that the proxy adds to a request."""
    direct = wrk(bench, 1, bench.seconds, port=bench.origin.port)
    through = wrk(bench, 1, bench.seconds)
    return {'p50': through['p50'] - direct['p50'], 'p99': through['p99'] - direct['p99'],
            'through p50': through['p50'], 'through p99': through['p99']}


# --- bulk ------------------------------------------------------------------------------------------------------------

def _bulk(kind, to_sink=False):
    def run(bench):
        """Measure a large body, or as much of it as passes in four times bench.seconds."""
        port = bench.origin.sink if to_sink else None
        meter = measure.Meter(bench.proxy.pids)
        result = load(bench, kind, 1, 4 * bench.seconds, bench.octets, port)
        spent = meter.read()
        if result['failed'] or not result['octets']:
            raise Failed(result['why'])
        return {'cpu': sum(spent) * 1e3 * GIB / result['octets'], 'system': spent[1] * 1e3 * GIB / result['octets'],
                'rate': result['octets'] / result['seconds'] / 1e6}
    return run


# --- memory ----------------------------------------------------------------------------------------------------------

def _settled(bench):
    """Return octets of memory when they have stopped changing."""
    last = measure.memory(bench.proxy.pids[0])
    for _ in range(20):
        time.sleep(0.1)
        now = measure.memory(bench.proxy.pids[0])
        if abs(now - last) < 20000:
            break
        last = now
    return now


def base(bench):
    """Measure the memory of a process that has served a few requests."""
    _per_request((0, 0), load(bench, 'get', 2, 0.2))
    return {'memory': _settled(bench) / (1 << 20)}


def _idle(kind):
    def run(bench):
        """Measure the memory of one idle connection."""
        with Holder(bench, kind, bench.idle // 10):
            pass                        # what is allocated only once does not count
        before = _settled(bench)
        with Holder(bench, kind, bench.idle):
            after = _settled(bench)
        return {'memory': (after - before) / bench.idle / 1024}
    return run


# `system` is that part of `cpu` which was spent in the kernel.
_CPU = [('cpu', 'us'), ('system', 'us'), ('done', '')]
_BULK = [('cpu', 'ms/GiB'), ('system', 'ms/GiB'), ('rate', 'MB/s')]
_LATENCY = [('p50', 'us'), ('p99', 'us'), ('through p50', 'us'), ('through p99', 'us')]
_KIB = [('memory', 'KiB')]      # PSS, without the memory of the kernel for sockets

SCENES = [Scene(*(row + ('',))[:5]) for row in (
    ('kept', kept, _CPU, '1 KiB GET, 32 kept-alive clients, same fields'),
    ('varying', varying, _CPU, 'the same, another cookie and URL each'),
    ('connection', _one_by_one('get'), _CPU, 'new client connection for each 1 KiB GET'),
    ('connect', _one_by_one('connect'), _CPU, 'CONNECT, one 1 KiB GET, close'),
    ('body', _bulk('body'), _BULK, 'body of 1 GiB'),
    ('tunnel', _bulk('tunnel'), _BULK, '1 GiB through a tunnel'),
    ('upload', _bulk('upload', True), _BULK, 'upload of 1 GiB, Content-Length'),
    ('chunked', _bulk('chunked', True), _BULK, 'upload of 1 GiB, chunked'),
    ('latency', latency, _LATENCY, 'added latency, one client'),
    ('idle-tunnel', _idle('idle-tunnels'), _KIB, 'memory of an idle tunnel'),
    ('idle-client', _idle('idle-clients'), _KIB, 'memory of an idle kept-alive client'),
    ('base', base, [('memory', 'MiB')], 'memory of a process'),
    ('parent', kept, _CPU, '1 KiB GET, 32 kept-alive clients', 'parent'),
    ('parent-body', _bulk('body'), _BULK, 'body of 1 GiB', 'parent'),
    ('socks-connect', _one_by_one('socks:connect'), _CPU, 'tunnel, one 1 KiB GET, close', 'socks'),
    ('socks-tunnel', _bulk('socks:tunnel'), _BULK, '1 GiB through a tunnel', 'socks'),
    ('socks-idle', _idle('socks:idle-tunnels'), _KIB, 'memory of an idle tunnel', 'socks'),
    ('tls-kept', kept_tls, _CPU, '1 KiB GET, 32 kept-alive clients', 'tls'),
    ('tls-connection', _one_by_one('tls:get'), _CPU, 'new client connection for each 1 KiB GET', 'tls'),
    ('tls-connect', _one_by_one('tls:connect'), _CPU, 'CONNECT, one 1 KiB GET, close', 'tls'),
    ('tls-body', _bulk('tls:body'), _BULK, 'body of 1 GiB', 'tls'),
    ('tls-tunnel', _bulk('tls:tunnel'), _BULK, '1 GiB through a tunnel', 'tls'),
    ('tls-upload', _bulk('tls:upload', True), _BULK, 'upload of 1 GiB, Content-Length', 'tls'),
    ('tls-idle', _idle('tls:idle-tunnels'), _KIB, 'memory of an idle tunnel', 'tls'),
)]

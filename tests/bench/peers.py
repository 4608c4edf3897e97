"""The proxies that are compared, each with its configuration in the folder `conf`.

Fair means, for all: no cache, no filters, one process (threads are its own affair, all their time counts), connections
kept on both sides where the proxy can, one line per request in a log file, buffered if the proxy can; limits high
enough to be out of the way; all else as it comes.
"""
from __future__ import absolute_import, division, print_function

import collections
import functools
import glob
import os
import socket
import sys

from program import HOST, Failed, Program, ask, find, free_port
from scenes import TUNNELS

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
CONF = os.path.join(HERE, 'conf')

BARE = 'gevent'
BULKS = frozenset(['body', 'tunnel', 'upload', 'chunked'])      # scenes of more octets than one read gives

# name; forward: false for the floors, which choose no origin; unable: names of scenes that are beyond it; version: as
# text; start: a function of (folder, Origin) that returns a Running.
Peer = collections.namedtuple('Peer', 'name forward unable version start')


class Running(object):
    """A proxy that runs, as one or more processes."""

    def __init__(self, port, programs):
        self.port = port
        self.programs = programs
        self.pids = [program.pid for program in programs]

    def stop(self):
        """End it."""
        for program in self.programs:
            program.stop()


def configure(name, folder, **values):
    """Copy a file from `conf` to `folder`, with each @word@ replaced by its value; the path of the copy."""
    with open(os.path.join(CONF, name)) as opened:
        text = opened.read()
    for word, value in dict(values, folder=folder, host=HOST).items():
        text = text.replace('@%s@' % word, str(value))
    path = os.path.join(folder, os.path.basename(name))
    with open(path, 'w') as opened:
        opened.write(text)
    return path


def _start(name, arguments, folder, origin):
    """Start a proxy of one process and one configuration file."""
    port = free_port()
    path = configure(name, folder, port=port, origin=origin.port, sink=origin.sink, modules=_apache_modules())
    program = Program([find(arguments[0])] + [path if argument == 'FILE' else argument for argument in arguments[1:]],
                      path + '.out', cwd=folder)
    return Running(port, [program.wait_for(port)])


def _apache_modules():
    return (glob.glob('/usr/lib*/apache2/modules') + glob.glob('/usr/lib*/httpd/modules') + [''])[0]


# --- geproxy ---------------------------------------------------------------------------------------------------------

def geproxy(name, python, checkout):
    """geproxy of that checkout on that Python, as a Peer. Raises Failed."""
    said = ask([python, '-m', 'geproxy', '--version'], cwd=checkout).strip()
    if not said.startswith('geproxy'):
        raise Failed('%s: no geproxy in %s on %s: %s' % (name, checkout, python, said[-200:]))
    return Peer(name, True, (), said, functools.partial(start_geproxy, python, checkout))


def start_geproxy(python, checkout, folder, origin, access='', processes=1):
    """A running geproxy. `access`: more lines for that section; `processes`: of them, on one listener."""
    port = free_port()
    listener = None
    if processes > 1:                       # as supervisord does it
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(1024)
    ini = configure('geproxy.ini', folder, origin=origin.port, access=access,
                    listen='fd:0' if listener else '%s:%d' % (HOST, port))
    wrong = ask([python, '-m', 'geproxy', '--check', ini], cwd=checkout).strip()
    if not wrong.endswith('fine'):
        raise Failed(wrong)
    try:
        programs = [Program([python, '-m', 'geproxy', '-c', ini], os.path.join(folder, 'geproxy-%d.out' % number),
                            cwd=checkout, stdin=listener) for number in range(processes)]
    finally:
        if listener:
            listener.close()
    return Running(port, [program.wait_for(port, 'listening on') for program in programs])


# --- those that are more than one file -------------------------------------------------------------------------------

def _start_traffic_server(folder, origin):
    port = free_port()
    for name in ('etc', 'var', 'run', 'log', 'cache'):
        path = os.path.join(folder, name)
        os.mkdir(path)
        os.chmod(path, 0o777)
    user = '#-1' if os.getuid() else 'nobody'           # it refuses to serve as root
    for name in os.listdir(os.path.join(CONF, 'trafficserver')):
        os.rename(configure('trafficserver/' + name, folder, port=port, user=user), os.path.join(folder, 'etc', name))
    program = Program([find('traffic_server'), '--run-root=' + os.path.join(folder, 'etc', 'runroot.yaml')], os.path.join(folder, 'ats.out'), cwd=folder)
    return Running(port, [program.wait_for(port)])


def bare(python):
    """The floor of geproxy on that Python: the program of bare.py, as a Peer."""
    version = ask([python, '-c', 'import gevent; print(gevent.__version__)']).strip()
    return Peer(BARE, False, BULKS, 'gevent %s alone, without HTTP' % version, functools.partial(_start_bare, python))


def _start_bare(python, folder, origin):
    port = free_port()
    program = Program([python, os.path.join(HERE, 'bare.py'), str(port), str(origin.port)],
                      os.path.join(folder, 'bare.out'), cwd=folder)
    return Running(port, [program.wait_for(port)])


def _start_proxy_py(folder, _origin):
    port = free_port()
    program = Program(
        [_python_with_proxy_py(), '-m', 'proxy', '--hostname', HOST, '--port', str(port), '--num-workers', '1',
         '--num-acceptors', '1', '--log-level', 'INFO', '--log-file', os.path.join(folder, 'proxy_py.log'),
         '--timeout', '3600', '--data-dir', folder], os.path.join(folder, 'proxy_py.out'), cwd=folder)
    return Running(port, [program.wait_for(port)])


def _python_with_proxy_py():
    """The Python that this runs on, or that of the `proxy` in the PATH; '' if none has proxy.py."""
    for python in (sys.executable, os.path.join(os.path.dirname(find('proxy')), 'python')):
        if ask([python, '-c', 'import proxy.http; print("yes")']).strip() == 'yes':
            return python
    return ''


# (name, forward, what prints its version, how to start it)
_KNOWN = [
    ('squid', True, ['squid', '-v'], functools.partial(_start, 'squid.conf', ['squid', '-N', '-n', 'geproxybench', '-f', 'FILE'])),
    ('tinyproxy', True, ['tinyproxy', '-v'],
     functools.partial(_start, 'tinyproxy.conf', ['tinyproxy', '-d', '-c', 'FILE'])),
    ('privoxy', True, ['privoxy', '--version'],
     functools.partial(_start, 'privoxy.conf', ['privoxy', '--no-daemon', 'FILE'])),
    ('apache', True, ['apache2', '-v'],
     functools.partial(_start, 'apache.conf', ['apache2', '-D', 'FOREGROUND', '-f', 'FILE'])),
    ('trafficserver', True, ['traffic_server', '-V'], _start_traffic_server),
    ('proxy.py', True, ['proxy', '--version'], _start_proxy_py),
    ('nginx', False, ['nginx', '-v'], functools.partial(_start, 'nginx.conf', ['nginx', '-c', 'FILE'])),
]
NAMES = [row[0] for row in _KNOWN] + [BARE]


def others(wanted, python):
    """Of the proxies of those names -> ([Peer], [name of one that is not installed]). `python`: of geproxy."""
    found, missing = [], []
    for name, forward, asking, start in _KNOWN:
        if name not in wanted:
            continue
        program = find(asking[0])
        if name == 'proxy.py':
            python = _python_with_proxy_py()
            program, asking = python, ['', '-m', 'proxy', '--version']
        if not program:
            missing.append(name)
            continue
        lines = ask([program] + asking[1:]).strip().splitlines()
        found.append(Peer(name, forward, () if forward else TUNNELS, lines[0].strip() if lines else '?', start))
    return found + [bare(python)] * (BARE in wanted), missing

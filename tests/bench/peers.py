"""The proxies that are compared. Their configurations are in the folder `conf`.

To be fair, all are configured alike: no cache, no filters, one process (all its threads count), kept connections on both
sides and a buffered log file with one line per request if the proxy can do that, limits that are never reached, and
everything else by default.

The lines that a proxy needs for one of scenes.WAYS are in the folder `conf/WAY`. The parent is the origin itself: it takes
requests in absolute-form, and costs each proxy the same.
"""
from __future__ import absolute_import, division, print_function

import collections
import functools
import glob
import os
import socket
import subprocess
import sys

from program import HOST, Failed, Program, ask, environment, find, free_port
from scenes import TUNNELS, WAYS

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
CONF = os.path.join(HERE, 'conf')
PEMS = os.path.join(TOP, 'tests', 'pems')

BARE = 'gevent'
BULKS = frozenset(['body', 'tunnel', 'upload', 'chunked'])      # scenes with more octets than one read returns

# `forward`: false for a reverse proxy or bare relay, which has one fixed origin; `unable`: names of scenes that it cannot
# do; `version`: native text; `start`: a function of (folder, Origin) that returns a Running; `ways`: those of scenes.WAYS that
# it can be configured for. For another than the usual one, `start` gets the keyword argument `way`.
Peer = collections.namedtuple('Peer', 'name forward unable version start ways')


class Running(object):
    """A running proxy: its port, its Programs and their pids."""

    def __init__(self, port, programs):
        self.port = port
        self.programs = programs
        self.pids = [program.pid for program in programs]

    def stop(self):
        """End all its processes."""
        for program in self.programs:
            program.stop()


def configure(name, folder, way='', **values):
    """Copy a file of `conf` to `folder` and replace each @word@ by its value. Return the path of the copy.

    `way`: of scenes.WAYS; if there is a file of that name in its folder, its lines follow.
    """
    text = ''
    for path in [os.path.join(CONF, name), os.path.join(CONF, way, name)][:1 + bool(way)]:
        if os.path.exists(path):
            with open(path) as opened:
                text += opened.read()
    for word, value in dict(values, folder=folder, host=HOST, certificates=PEMS).items():
        text = text.replace('@%s@' % word, str(value))
    path = os.path.join(folder, os.path.basename(name))
    with open(path, 'w') as opened:
        opened.write(text)
    return path


def _start(name, arguments, folder, origin, way=''):
    """Start a proxy of one process and one configuration file. For `way` tls it has a port of its own for TLS."""
    values = {'port': free_port(), 'tls': free_port()}
    path = configure(name, folder, way, origin=origin.port, sink=origin.sink, modules=_apache_modules(), **values)
    words = dict(values, FILE=path)
    program = Program([find(arguments[0])] + [str(words.get(argument, argument)) for argument in arguments[1:]],
                      path + '.out', cwd=folder)
    port = values['tls' if way == 'tls' else 'port']
    return Running(port, [program.wait_for(port)])


def _apache_modules():
    return (glob.glob('/usr/lib*/apache2/modules') + glob.glob('/usr/lib*/httpd/modules') + [''])[0]


# --- geproxy ---------------------------------------------------------------------------------------------------------

def geproxy(name, python, checkout):
    """Return geproxy as a Peer. Raises Failed. `name`: for tables; `python`, `checkout`: paths."""
    said = ask([python, '-m', 'geproxy', '--version'], cwd=checkout).strip()
    if not said.startswith('geproxy'):
        raise Failed('%s does not run: no geproxy in %s with %s: %s' % (name, checkout, python, said[-200:]))
    return Peer(name, True, (), said, functools.partial(start_geproxy, python, checkout), tuple(WAYS))


def start_geproxy(python, checkout, folder, origin, access='', processes=1, way=''):
    """Start geproxy. Return a Running. Raises Failed.

    `access`: more lines for the section [access]; `processes`: how many share one listener; `way`: of scenes.WAYS.
    """
    port = free_port()
    listener = None
    if processes > 1:                       # in the way of supervisord
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(1024)
    ini = configure('geproxy.ini', folder, way, origin=origin.port, access=access,
                    listen='fd:0' if listener else '%s:%d' % (HOST, port))
    # Asked by its exit code: other revisions of geproxy have other words.
    with open(os.devnull, 'w') as nothing:
        code = subprocess.call([python, '-m', 'geproxy', '--check', ini], cwd=checkout, stdout=nothing, env=environment())
    if code:
        raise Failed('geproxy of %s does not accept its ini file, see above' % checkout)
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
    user = '#-1' if os.getuid() else 'nobody'           # it refuses to run as root
    for name in os.listdir(os.path.join(CONF, 'trafficserver')):
        os.rename(configure('trafficserver/' + name, folder, port=port, user=user), os.path.join(folder, 'etc', name))
    program = Program([find('traffic_server'), '--run-root=' + os.path.join(folder, 'etc', 'runroot.yaml')], os.path.join(folder, 'ats.out'), cwd=folder)
    return Running(port, [program.wait_for(port)])


def bare(python):
    """Return bare.py as a Peer: the least that any proxy on gevent costs. `python`: path of a Python."""
    version = ask([python, '-c', 'import gevent; print(gevent.__version__)']).strip()
    return Peer(BARE, False, BULKS, 'gevent %s alone, without HTTP' % version, functools.partial(_start_bare, python), ('',))


def _start_bare(python, folder, origin):
    port = free_port()
    program = Program([python, os.path.join(HERE, 'bare.py'), str(port), str(origin.port)],
                      os.path.join(folder, 'bare.out'), cwd=folder)
    return Running(port, [program.wait_for(port)])


def _start_haproxy(folder, origin, way):
    with open(os.path.join(folder, 'haproxy.pem'), 'w') as both:
        for name in ('proxy.test.pem', 'proxy.test.key'):
            with open(os.path.join(PEMS, name)) as opened:
                both.write(opened.read())
    return _start('haproxy.cfg', ['haproxy', '-db', '-f', 'FILE'], folder, origin, way)


def _start_microsocks(folder, _origin, way):
    port = free_port()
    program = Program([find('microsocks'), '-i', HOST, '-p', str(port)], os.path.join(folder, 'microsocks.out'), cwd=folder)
    return Running(port, [program.wait_for(port)])


def _start_proxy_py(folder, _origin):
    port = free_port()
    program = Program(
        [_python_with_proxy_py(), '-m', 'proxy', '--hostname', HOST, '--port', str(port), '--num-workers', '1',
         '--num-acceptors', '1', '--log-level', 'INFO', '--log-file', os.path.join(folder, 'proxy_py.log'),
         '--timeout', '3600', '--data-dir', folder], os.path.join(folder, 'proxy_py.out'), cwd=folder)
    return Running(port, [program.wait_for(port)])


def _python_with_proxy_py():
    """Return the path of a Python that has proxy.py: this one, or that of `proxy` in PATH; '' if there is none."""
    for python in (sys.executable, os.path.join(os.path.dirname(find('proxy')), 'python')):
        if ask([python, '-c', 'import proxy.http; print("yes")']).strip() == 'yes':
            return python
    return ''


_PARENT = ('', 'parent')
# (name, forward, what prints its version, how to start it, its ways)
_KNOWN = [
    ('squid', True, ['squid', '-v'], functools.partial(_start, 'squid.conf', ['squid', '-N', '-n', 'geproxybench', '-f', 'FILE']),
     ('', 'parent', 'tls')),
    ('tinyproxy', True, ['tinyproxy', '-v'],
     functools.partial(_start, 'tinyproxy.conf', ['tinyproxy', '-d', '-c', 'FILE']), _PARENT),
    ('privoxy', True, ['privoxy', '--version'],
     functools.partial(_start, 'privoxy.conf', ['privoxy', '--no-daemon', 'FILE']), _PARENT),
    ('apache', True, ['apache2', '-v'],
     functools.partial(_start, 'apache.conf', ['apache2', '-D', 'FOREGROUND', '-f', 'FILE']), _PARENT),
    ('trafficserver', True, ['traffic_server', '-V'], _start_traffic_server, ('',)),
    ('proxy.py', True, ['proxy', '--version'], _start_proxy_py, ('',)),
    ('nginx', False, ['nginx', '-v'], functools.partial(_start, 'nginx.conf', ['nginx', '-c', 'FILE']), ('',)),
    ('microsocks', True, ['microsocks', '-V'], _start_microsocks, ('socks',)),
    ('dante', True, ['danted', '-v'], functools.partial(_start, 'danted.conf', ['danted', '-f', 'FILE']), ('socks',)),
    ('haproxy', False, ['haproxy', '-v'], _start_haproxy, ('tls',)),
]
NAMES = [row[0] for row in _KNOWN] + [BARE]


def others(wanted, python):
    """Return ([Peer], names of those that are not installed). `wanted`: names; `python`: the one of geproxy."""
    found, missing = [], []
    for name, forward, asking, start, ways in _KNOWN:
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
        found.append(Peer(name, forward, () if forward else TUNNELS, lines[0].strip() if lines else '?', start, ways))
    return found + [bare(python)] * (BARE in wanted), missing

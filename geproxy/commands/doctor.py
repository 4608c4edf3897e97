"""``python -m geproxy doctor``: looks at the host and the ini file as an old hand would, and says what to change."""
from __future__ import absolute_import, division, print_function

import argparse
import collections
import errno
import os
import platform
import resource
import socket
import sys
import time

import gevent
from gevent import monkey

from geproxy import compat, errors
from geproxy.net import address, unix_sockets
from geproxy.net.deadlines import TimeLimit
from geproxy.observe import sinks
from geproxy.service import listeners, privileges
from geproxy.settings import ini, loading, option_types
from geproxy.upstream.resolver import Resolver

OK, NOTE, WARNING, ERROR = range(4)
WORDS = ('ok', 'note', 'WARNING', 'ERROR')
EXITS = (0, 0, 1, 2)            # by the worst that was found

# The functions of the system: gevent's wait for SIGCHLD, and miss it if the child ends at once.
_fork, _waitpid = monkey.get_original('os', ['fork', 'waitpid'])

Finding = collections.namedtuple('Finding', 'severity what remedy')     # `remedy`: what to change, '' for nothing

SLOW_NAME = 1.0                 # seconds for a look-up; a client waits for each new name
FEW_DESCRIPTORS = 1024
LITTLE_SPACE = 0.05             # of a disk that logs go to
SURE_PAST = 1767225600          # seconds: the start of 2026; a clock that shows less has lost its time
# To see if there is a way: connecting a datagram socket sends nothing.
FAR = ((socket.AF_INET, '192.0.2.1'), (socket.AF_INET6, '2001:db8::1'))


def main(arguments):
    """`arguments`: from the name of the command on. The exit code: one of EXITS, 2 for usage or the ini file too."""
    options = _parser().parse_args(arguments[1:])
    try:
        settings = loading.load(options.config)
    except (loading.ConfigError, EnvironmentError) as error:
        sys.stderr.write('geproxy: %s\n' % error)
        return 2
    worst = OK
    for title, found in examine(settings, options.name, options.supervisord):
        for finding in found:
            worst = max(worst, finding.severity)
            print('%-8s%s: %s%s' % (WORDS[finding.severity], title, finding.what,
                                    '\n        -> ' + finding.remedy if finding.remedy else ''))
    return EXITS[worst]


def _parser():
    parser = argparse.ArgumentParser(
        prog='geproxy doctor', description='Say what on this host, or in the ini file, will cause trouble. Exit code '
        '0: nothing, 1: something will, 2: it does already.')
    parser.add_argument('-c', '--config', metavar='FILE', help='the ini file; without it: all defaults')
    parser.add_argument('--name', metavar='HOST', default='localhost', help='a name to look up (localhost)')
    parser.add_argument('--supervisord', metavar='FILE', help='the configuration of the supervisord that keeps it')
    return parser


def hindrances(path, settings):
    """What outside the ini file at `path` keeps a process with these Settings from starting, as lines of text.

    Only what is the same for all users of this host, but for the user that [proxy] user names, if root asks."""
    found = []
    user, group = settings.proxy.user, settings.proxy.group
    why = privileges.complaint(user, group)
    if why:
        found.append('%s: %s' % (loading.place_of(path, 'proxy', 'user' if user else 'group'), why))
    for section, name in (('log', 'access'), ('log', 'errors'), ('limits', 'quota_file')):
        target = getattr(getattr(settings, section), name)
        if target in ('-', 'off') or sinks.syslog_address(target):
            continue
        why = _hindrance(os.path.abspath(target))
        if not why and user and not found and os.geteuid() == 0:
            why = _try_as(user, group, os.path.abspath(target))
        if why:
            found.append('%s: [%s] %s: %s' % (loading.place_of(path, section, name), section, name, why))
    taken = []
    for section, listener in _places(settings):
        why = _place_hindrance(listener, taken)
        if why:
            found.append('%s: [%s] listen: %s' % (loading.place_of(path, section, 'listen'), section, why))
    return found


def missing_admin_folders(path, settings):
    """Return a line of text for each socket of [admin] listen whose folder does not exist. `path`: the ini file; native
    text. That is no mistake in the file: systemd makes such a folder only when it starts geproxy."""
    return ['%s: [admin] listen: %s (systemd makes it by RuntimeDirectory=)' % (
        loading.place_of(path, 'admin', 'listen'), why)
            for why in [unix_sockets.missing_folder(listener.path) for listener in settings.admin.listen
                        if isinstance(listener, option_types.UnixListener)] if why]


def absent(path, settings):
    """What of these Settings this host does not have now, as lines of text: addresses to listen on. Another host may
    have them, or this one later."""
    found = []
    for section, listener in _places(settings):
        if isinstance(listener, option_types.UnixListener) or listener.fd is not None or not listener.host:
            continue
        try:
            for sock in listeners.open_all([listener._replace(port=0)]):    # another process of ours may have its port
                sock.close()
        except listeners.ListenError as error:
            why = 'this host has no address %s now' % listener.host
            found.append('%s: [%s] listen: %s: it cannot start here' % (
                loading.place_of(path, section, 'listen'), section,
                why if error.args[1] == errno.EADDRNOTAVAIL else error.args[0]))
    return found


def _places(settings):
    """[(section, one of its option_types.Listeners)], in the order in which they are opened."""
    return [(section, each) for section in ('proxy', 'admin') for each in getattr(settings, section).listen]


def _place_hindrance(listener, taken):
    """Why no process could listen there beside those in `taken`, a list of TCP listeners, to which this one is added;
    ''."""
    if isinstance(listener, option_types.UnixListener):
        here = os.path.dirname(os.path.abspath(listener.path))
        # Folders below /run are often made by what starts the process (RuntimeDirectory= of systemd).
        return '' if here.startswith(('/run/', '/var/run/')) else _hindrance(os.path.join(here, 'socket'))
    if listener.fd is not None or not listener.port:
        return ''
    if any(listener.port == each.port and ('' in (listener.host, each.host) or listener.host == each.host)
           for each in taken):
        return 'port %d is there twice' % listener.port
    taken.append(listener)
    return ''


def _hindrance(path):
    """Return why no user can write a file at `path` (absolute, native text), or ''."""
    return unix_sockets.missing_folder(path) or ('%s is a folder' % path if os.path.isdir(path) else '')


def _try_as(user, group, path):
    """Return why that user cannot write a file, or ''. A child process becomes that user and asks the system."""
    child = _fork()
    if not child:
        try:
            privileges.drop(user, group, ())
            code = 0 if os.access(path if os.path.exists(path) else os.path.dirname(path), os.W_OK) else 1
        except BaseException:
            code = 2                            # it is said elsewhere that nobody can become that user
        os._exit(code)
    return '%s cannot write %s' % (user, path) if _waitpid(child, 0)[1] >> 8 == 1 else ''


def examine(settings, name='localhost', supervisord=None):
    """(title, [Finding]) for each thing that is looked at. Looks `name` up; sends nothing else."""
    yield 'python', python()
    yield 'descriptors', descriptors(settings)
    for listener in settings.proxy.listen:
        yield 'listener', listening(listener)
    yield 'clients', clients(settings)
    yield 'names', names(settings, name)
    yield 'routes', [route(family, there) for family, there in FAR]
    yield 'clock', clock(time.time())
    for title, path in (('log', settings.log.access), ('log', settings.log.errors),
                        ('quota', settings.limits.quota_file)):
        if path not in ('-', 'off') and not sinks.syslog_address(path):
            yield title, [disk(path)]
    for listener in settings.admin.listen:
        if isinstance(listener, option_types.UnixListener):
            yield 'admin', [admin_socket(listener.path)]
    if supervisord:
        yield 'supervisord', keeper(supervisord, settings)


def python():
    """Python and gevent."""
    what = 'Python %s, gevent %s' % (platform.python_version(), gevent.__version__)
    if not all(monkey.is_module_patched(each) for each in ('socket', 'time', 'threading')):
        return [Finding(ERROR, what + ', not patched', 'run it as python -m geproxy, which patches first')]
    return [Finding(OK, what, '')]


def descriptors(settings):
    """File descriptors: each connection of a client takes two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = '%s, up to %s' % (soft, 'any number' if hard == resource.RLIM_INFINITY else hard)
    wanted = 2 * (settings.limits.connections or FEW_DESCRIPTORS // 2)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return [Finding(WARNING, what, 'raise ulimit -Hn to %d or more (LimitNOFILE= of systemd)' % wanted)]
    return [Finding(OK, what, '')]


def listening(listener):
    """One option_types.Listener."""
    if listener.fd is not None:
        return [Finding(OK, '%s comes from whoever starts it' % (
            listener.fd if listener.fd == option_types.SYSTEMD else 'fd:%d' % listener.fd), '')]
    where = '%s:%d' % (listener.host or '*', listener.port)
    try:
        for sock in listeners.open_all([listener]):
            sock.close()
    except listeners.ListenError as error:
        if 'geproxy' in error.args[0] or 'python' in error.args[0]:
            # It may well be us, running: no advice then.
            return [Finding(NOTE, error.args[0].partition(';')[0] + ': geproxy itself, if it runs', '')]
        return [Finding(ERROR, error.args[0], 'stop what has the port, or listen elsewhere')]
    return [Finding(OK, '%s can be had' % where, '')]


def clients(settings):
    """Who may come, and from where they can."""
    allowed = settings.access.clients
    hosts = [listener.host for listener in settings.proxy.listen]
    local = all(address.is_ip(host) and address.kind(address.parse_ip(host)) == 'loopback' for host in hosts)
    if any(address.within(address.parse_ip(each), allowed) for each in ('8.8.8.8', '2001:4860::1')) and not local:
        if settings.users is None:
            return [Finding(WARNING, 'anybody on the internet who can reach this host may use it',
                            'narrow [access] clients, or ask for log-ins with [auth] users')]
        return [Finding(NOTE, 'anybody who has a password may use it, from anywhere', '')]
    if not allowed:
        return [Finding(WARNING, 'nobody may use it', 'name them in [access] clients')]
    others = [network.text for network in allowed if network.text not in ('loopback', '127.0.0.1', '::1')]
    if local and others:
        return [Finding(WARNING, '%s may use it, but it listens on loopback only' % ', '.join(sorted(set(others))),
                        'listen on *:PORT, or on the address that they reach')]
    return [Finding(OK, ' '.join(sorted(set(network.text for network in allowed))), '')]


def names(settings, name):
    """How long a look-up takes, and whether it says the same twice."""
    seconds, answers = [], []
    for _ in range(2):
        started = compat.monotonic()
        try:
            answers.append(sorted(Resolver().resolve(compat.to_octets(name), TimeLimit(
                'dns', settings.timeouts.dns, errors.DnsTimeout))))
        except errors.ProxyError as error:
            return [Finding(ERROR, str(error), error.hint)]
        seconds.append(compat.monotonic() - started)
    what = '%s is %s, in %d and %d ms' % (name, ' '.join(answers[0]), seconds[0] * 1000, seconds[1] * 1000)
    if max(seconds) > SLOW_NAME:
        return [Finding(WARNING, what, 'a name server that does not answer stands before one that does: resolv.conf')]
    if answers[0] != answers[1]:
        return [Finding(NOTE, what + '; the second time %s' % ' '.join(answers[1]), '')]
    return [Finding(OK, what, '')]


def route(family, there):
    """Whether there is a way out in a family of addresses."""
    name = 'IPv4' if family == socket.AF_INET else 'IPv6'
    probe = None
    try:
        probe = socket.socket(family, socket.SOCK_DGRAM)
        probe.connect((there, 9))
        return Finding(OK, '%s, from %s' % (name, probe.getsockname()[0]), '')
    except socket.error as error:
        return Finding(NOTE, 'none for %s: %s' % (name, error.args[-1]), '')
    finally:
        if probe is not None:
            probe.close()


def clock(now):
    """Whether the clock can be right: quotas, rules with days, Date fields and logs go by it."""
    shown = time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))
    if now < SURE_PAST:
        return [Finding(ERROR, 'it shows %s' % shown, 'set it, and let ntp keep it')]
    return [Finding(OK, shown, '')]


def disk(path):
    """Whether a file can be written, and for how long there is room."""
    here = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(here):
        return Finding(ERROR, 'there is no folder %s' % here, 'make it, for the user that runs geproxy')
    if not os.access(path if os.path.exists(path) else here, os.W_OK):
        return Finding(ERROR, '%s cannot be written by this user' % path, 'run this as the user that runs geproxy')
    room = os.statvfs(here)
    share = room.f_bavail / max(1, room.f_blocks)
    what = '%s, with %d MB free' % (path, room.f_bavail * room.f_frsize >> 20)
    if share < LITTLE_SPACE:
        return Finding(WARNING, what, 'the disk is nearly full; lines that find no room are dropped')
    return Finding(OK, what, '')


def admin_socket(path):
    """Whether a socket of [admin] listen can be made, and who answers at those that are there."""
    here = os.path.dirname(path)
    if not os.path.isdir(here):
        # RuntimeDirectory= of systemd makes it, and for as long as geproxy runs only.
        return Finding(WARNING, 'there is no folder %s' % here, 'see that it is made before each start, for the user '
                       'that runs geproxy: /run is empty after a boot')
    if not os.access(here, os.R_OK | os.W_OK | os.X_OK):
        return Finding(ERROR, 'no socket can be made in %s by this user' % here,
                       'run this as the user that runs geproxy')
    found = [unix_sockets.answers(each) for each in unix_sockets.matches(path)]
    return Finding(OK, '%s: %d answer%s' % (path, sum(found), ', %d left behind, which the next start removes' % (
        len(found) - sum(found)) if not all(found) else ''), '')


def keeper(path, settings):
    """The configuration of supervisord, in the sections that start geproxy."""
    try:
        with open(path) as opened:
            entries = ini.read(path, opened.read().splitlines())
    except (IOError, OSError) as error:
        return [Finding(ERROR, '%s: %s' % (path, error.strerror), '')]
    values = dict((entry[:2], entry.value) for entry in entries if entry.name)
    ours = sorted(
        section for (section, name), value in values.items()
        if name == 'command' and section.partition(':')[0] in ('program', 'fcgi-program') and 'geproxy' in value)
    if not ours:
        return [Finding(WARNING, '%s starts no geproxy' % path, 'see conf/supervisord.conf')]
    found = [each for section in ours for each in _program(section, values, settings)]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    minfds = values.get(('supervisord', 'minfds'), '1024')
    if minfds.isdigit() and hard != resource.RLIM_INFINITY and int(minfds) > hard:
        found.append(Finding(ERROR, 'minfds = %s, and this host allows %d: supervisord will not start' % (minfds, hard),
                             'lower it; geproxy raises its own limit'))
    return found or [Finding(OK, ', '.join(ours), '')]


def _program(section, values, settings):
    patience = values.get((section, 'stopwaitsecs'), '10')
    if not patience.isdigit() or int(patience) <= settings.timeouts.drain:
        yield Finding(WARNING, '[%s] kills after stopwaitsecs = %s, while [timeouts] drain takes up to %.3g' % (
            section, patience, settings.timeouts.drain), 'set stopwaitsecs to drain and some seconds')
    if values.get((section, 'stopsignal'), 'TERM') not in ('TERM', 'INT'):
        yield Finding(ERROR, '[%s] stops it with %s' % (section, values[section, 'stopsignal']), 'stopsignal=TERM')
    if values.get((section, 'autorestart'), 'unexpected') == 'false':
        yield Finding(WARNING, '[%s] does not start it again after a crash' % section, 'autorestart=unexpected')
    handed = any(listener.fd is not None for listener in settings.proxy.listen)
    if section.startswith('fcgi-') and not handed:
        yield Finding(ERROR, '[%s] hands over a socket, and [proxy] listen does not take it' % section, 'listen = fd:0')
    if not section.startswith('fcgi-') and handed:
        yield Finding(ERROR, '[%s] hands over no socket, and [proxy] listen waits for one' % section,
                      'name the section [fcgi-program:...], with socket=')

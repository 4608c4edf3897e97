"""``python -m geproxy doctor``: check the host and the ini file for trouble, and say what to change.

`--check` uses the parts that are also true for other users of this host.
"""
from __future__ import absolute_import, division, print_function

import argparse
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
from geproxy.commands import certificate_trials, parent_checks, source_trials
from geproxy.commands.findings import ERROR, EXITS, NOTE, OK, WARNING, WORDS, Finding
from geproxy.net import address, unix_sockets
from geproxy.net.deadlines import TimeLimit
from geproxy.observe import sinks
from geproxy.service import listeners, privileges
from geproxy.settings import ini, loading, option_types
from geproxy.upstream.resolver import Resolver
from geproxy.wording import plural

# Not patched: gevent's functions wait for SIGCHLD, and miss it if the child ends at once.
_fork, _waitpid = monkey.get_original('os', ['fork', 'waitpid'])

SLOW_NAME = 1.0                 # seconds for looking up a name; a client waits that long for each new name
FEW_DESCRIPTORS = 1024
LITTLE_SPACE = 0.05             # free share of the disk for logs
SURE_PAST = 1767225600          # seconds since the epoch: the start of 2026. A clock that shows less is wrong
# To find a route: connecting a datagram socket sends nothing.
FAR = ((socket.AF_INET, '192.0.2.1'), (socket.AF_INET6, '2001:db8::1'))


def main(arguments):
    """Run ``geproxy doctor`` and return the exit code: one of EXITS; also 2 for wrong usage or a bad ini file.

    `arguments`: native texts, the name of the command first.
    """
    options = _parser().parse_args(arguments[1:])
    try:
        settings = loading.load(options.config)
    except (loading.ConfigError, EnvironmentError) as error:
        sys.stderr.write('geproxy: %s\n' % error)
        return 2
    counts = [0] * len(WORDS)
    for title, found in examine(settings, options.name, options.supervisord, options.config):
        for finding in found:
            counts[finding.severity] += 1
            print('%-8s%s: %s%s' % (WORDS[finding.severity], title, finding.what,
                                    '\n        -> ' + finding.remedy if finding.remedy else ''))
    return EXITS[max(severity for severity, number in enumerate(counts) if number)]


def _parser():
    parser = argparse.ArgumentParser(
        prog='geproxy doctor', description='Check this host and the ini file for trouble, and say what to change. Run '
        'it as the user that runs geproxy. Exit code 0: no trouble, 1: a WARNING (trouble is possible), 2: an ERROR '
        '(geproxy does not work so), wrong usage, or a mistake in the ini file.')
    parser.add_argument('-c', '--config', metavar='FILE', help='the ini file (default: none, all options have their '
                        'defaults)')
    parser.add_argument('--name', metavar='HOST', default='localhost',
                        help='a host name to look up, as a test (default: localhost)')
    parser.add_argument('--supervisord', metavar='FILE',
                        help='configuration of the supervisord that runs geproxy, to check it, too')
    return parser


def hindrances(path, settings):
    """Return what keeps geproxy from starting on this host, as lines of text. Mistakes in the file are not among them.

    `path`: the ini file, native text; `settings`: what was read from it. Only what holds for every user of this host
    is checked, and, if root asks, what the user of [proxy] user may do.
    """
    found = []
    user, group = settings.proxy.user, settings.proxy.group
    why = privileges.complaint(user, group)
    if why:
        found.append('%s: %s' % (loading.where_set(path, 'proxy', 'user' if user else 'group'), why))
    for section, name in (('log', 'access'), ('log', 'errors'), ('limits', 'quota_file')):
        target = getattr(getattr(settings, section), name)
        if target in ('-', 'off') or sinks.syslog_address(target):
            continue
        why = _hindrance(os.path.abspath(target))
        if not why and user and not found and os.geteuid() == 0:
            why = _try_as(user, group, os.path.abspath(target))
        if why:
            found.append('%s: [%s] %s: %s' % (loading.where_set(path, section, name), section, name, why))
    taken = []
    for section, listener in _listeners(settings):
        why = _listener_hindrance(listener, taken)
        if why:
            found.append('%s: [%s] listen: %s' % (loading.where_set(path, section, 'listen'), section, why))
    return found


def missing_admin_folders(path, settings):
    """Return a line of text for each socket of [admin] listen whose folder does not exist.

    `path`: the ini file, native text; `settings`: what was read from it. A missing folder is not a mistake: systemd
    makes such a folder when it starts geproxy.
    """
    return ['%s: [admin] listen: %s (systemd makes it by RuntimeDirectory=)' % (
        loading.where_set(path, 'admin', 'listen'), why)
            for why in [unix_sockets.missing_folder(listener.path) for listener in settings.admin.listen
                        if isinstance(listener, option_types.UnixListener)] if why]


def absent(path, settings):
    """Return a line of text for each address to listen on that this host does not have now.

    `path`: the ini file, native text; `settings`: what was read from it. Another host may have these addresses, or
    this host later.
    """
    found = []
    for section, listener in _listeners(settings):
        if isinstance(listener, option_types.UnixListener) or listener.fd is not None or not listener.host:
            continue
        try:
            for sock in listeners.open_all([listener._replace(port=0)]):    # another geproxy may have the port
                sock.close()
        except listeners.ListenError as error:
            why = 'this host has no address %s now' % listener.host
            found.append('%s: [%s] listen: %s: geproxy cannot start on this host now' % (
                loading.where_set(path, section, 'listen'), section,
                why if error.args[1] == errno.EADDRNOTAVAIL else error.args[0]))
    return found


def _listeners(settings):
    """Return [(section, option_types.Listener)] in the order in which they are opened."""
    return [(section, each) for section in ('proxy', 'admin') for each in getattr(settings, section).listen]


def _listener_hindrance(listener, taken):
    """Return why no process can listen there, or ''. `taken`: the TCP listeners so far; this one is added."""
    if isinstance(listener, option_types.UnixListener):
        here = os.path.dirname(os.path.abspath(listener.path))
        # Folders below /run are often made when the process is started (RuntimeDirectory= of systemd).
        return '' if here.startswith(('/run/', '/var/run/')) else _hindrance(os.path.join(here, 'socket'))
    if listener.fd is not None or not listener.port:
        return ''
    if any(listener.port == each.port and ('' in (listener.host, each.host) or listener.host == each.host)
           for each in taken):
        return 'port %d is used twice' % listener.port
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
            code = 2                            # privileges.complaint says why that user cannot be used
        os._exit(code)
    return '%s cannot write %s' % (user, path) if _waitpid(child, 0)[1] >> 8 == 1 else ''


def examine(settings, name='localhost', supervisord=None, path=None):
    """Check everything and return, one after the other, (title, [Finding]). Waits for the look-up of `name`.

    `settings`: what was read from the ini file; `name`: a host, native text; `supervisord`: the path of its
    configuration, or None; `path`: the ini file, or None. Nothing is sent but look-ups, and questions to parents.
    """
    yield 'python', python()
    yield 'descriptors', descriptors(settings)
    for listener in settings.proxy.listen:
        yield 'listener', listening(listener)
    yield 'clients', clients(settings)
    yield 'tls', certificate_trials.examine(settings.certificates)
    yield 'names', names(settings, name)
    yield 'routes', [route(family, there) for family, there in FAR]
    for source, good in source_trials.tried(settings):
        yield 'source', [Finding(OK, 'connections can leave from %s' % source, '') if good else Finding(
            ERROR, 'this host does not have the address %s' % source, 'correct source, or add the address to the host')]
    yield 'parents', parent_checks.examine(path, settings)
    yield 'clock', clock(time.time())
    for title, path in (('log', settings.log.access), ('log', settings.log.errors),
                        ('quota', settings.limits.quota_file)):
        if path not in ('-', 'off') and not sinks.syslog_address(path):
            yield title, [disk(path)]
    for listener in settings.admin.listen:
        if isinstance(listener, option_types.UnixListener):
            yield 'admin', [admin_socket(listener.path)]
    if supervisord:
        yield 'supervisord', supervisor(supervisord, settings)


def python():
    """Return [Finding] about Python and gevent."""
    what = 'Python %s, gevent %s' % (platform.python_version(), gevent.__version__)
    if not all(monkey.is_module_patched(each) for each in ('socket', 'time', 'threading')):
        return [Finding(ERROR, what + ', not patched', 'start it as python -m geproxy')]
    return [Finding(OK, what, '')]


def descriptors(settings):
    """Return [Finding] about the limit of file descriptors. `settings`: their [limits] connections needs two each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = '%s, can be raised to %s' % (soft, 'any number' if hard == resource.RLIM_INFINITY else hard)
    wanted = 2 * (settings.limits.connections or FEW_DESCRIPTORS // 2)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return [Finding(WARNING, what + ', too few for %d connections' % (wanted // 2),
                        'raise ulimit -Hn to %d or more (with systemd: LimitNOFILE=%d)' % (wanted, wanted))]
    return [Finding(OK, what, '')]


def listening(listener):
    """Return [Finding] that says if `listener`, an option_types.Listener, can be opened now."""
    if listener.fd is not None:
        return [Finding(OK, '%s is inherited at the start, and was not checked' % (
            listener.fd if listener.fd == option_types.SYSTEMD else 'fd:%d' % listener.fd), '')]
    where = '%s:%d' % (listener.host or '*', listener.port)
    try:
        for sock in listeners.open_all([listener]):
            sock.close()
    except listeners.ListenError as error:
        if 'geproxy' in error.args[0] or 'python' in error.args[0]:
            # It may be the geproxy that runs, so there is no advice.
            return [Finding(NOTE, error.args[0].partition(';')[0] + ': fine if that is this geproxy', '')]
        return [Finding(ERROR, error.args[0], 'stop the program that has the port, or change [proxy] listen')]
    return [Finding(OK, '%s is free' % where, '')]


def clients(settings):
    """Return [Finding] about [access] clients: the allowed clients, and if they can reach the proxy.

    `settings`: the loading.Settings.
    """
    allowed = settings.access.clients
    hosts = [listener.host for listener in settings.proxy.listen]
    local = all(address.is_ip(host) and address.kind(address.parse_ip(host)) == 'loopback' for host in hosts)
    if any(address.within(address.parse_ip(each), allowed) for each in ('8.8.8.8', '2001:4860::1')) and not local:
        required = settings.tls.clients and settings.auth.certificates == 'required'
        if not settings.auth.users and not required:
            return [Finding(WARNING, 'every address on the internet may use this proxy, without log-in',
                            'list fewer networks in [access] clients, or set [auth] users')]
        return [Finding(NOTE, 'every address on the internet may use this proxy, with a log-in', '')]
    if not allowed:
        return [Finding(WARNING, 'no client may use this proxy', 'list the networks of clients in [access] clients')]
    others = sorted(set(each.text for each in allowed) - {'loopback', '127.0.0.1', '::1'})
    if local and others:
        return [Finding(WARNING, 'these may use the proxy, but it only listens on loopback: %s' % ' '.join(others),
                        'set [proxy] listen to *:PORT, or to an address that these clients reach')]
    return [Finding(OK, ' '.join(sorted(set(network.text for network in allowed))), '')]


def names(settings, name):
    """Look up a host twice. Return [Finding] about the time that this takes, and about answers that differ.

    `settings`: for [timeouts] dns; `name`: native text.
    """
    seconds, answers = [], []
    for _ in range(2):
        started = compat.monotonic()
        try:
            answers.append(sorted(Resolver().resolve(compat.to_octets(name), TimeLimit(
                'dns', settings.timeouts.dns, errors.DnsTimeout))))
        except errors.ProxyError as error:
            return [Finding(ERROR, str(error), error.hint)]
        seconds.append(compat.monotonic() - started)
    what = '%s is %s, looked up in %d and %d ms' % (name, ' '.join(answers[0]), seconds[0] * 1000, seconds[1] * 1000)
    if max(seconds) > SLOW_NAME:
        return [Finding(WARNING, what, 'the first name servers in /etc/resolv.conf may be down: remove those that are')]
    if answers[0] != answers[1]:
        return [Finding(NOTE, what + '; the second answer was %s' % ' '.join(answers[1]), '')]
    return [Finding(OK, what, '')]


def route(family, there):
    """Return a Finding that says if this host has a route for a family of addresses.

    `family`: socket.AF_INET or AF_INET6; `there`: an address far away, native text. Nothing is sent.
    """
    name = 'IPv4' if family == socket.AF_INET else 'IPv6'
    probe = None
    try:
        probe = socket.socket(family, socket.SOCK_DGRAM)
        probe.connect((there, 9))
        return Finding(OK, '%s goes out from %s' % (name, probe.getsockname()[0]), '')
    except socket.error as error:
        return Finding(NOTE, 'no route for %s: %s' % (name, error.args[-1]), '')
    finally:
        if probe is not None:
            probe.close()


def clock(now):
    """Return [Finding] that says if the clock can be right. Quotas, rules with times, Date fields and logs need it.

    `now`: seconds since the epoch.
    """
    shown = time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))
    if now < SURE_PAST:
        return [Finding(ERROR, 'the clock shows %s, which is wrong' % shown, 'set the clock, and run an NTP service')]
    return [Finding(OK, shown, '')]


def disk(path):
    """Return a Finding that says if a file can be written, and if its disk has room. `path`: native text."""
    here = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(here):
        return Finding(ERROR, 'there is no folder %s' % here, 'make it, writable for the user that runs geproxy')
    if not os.access(path if os.path.exists(path) else here, os.W_OK):
        return Finding(ERROR, 'this user cannot write %s' % path,
                       'run doctor as the user that runs geproxy; if that is this user: chown or chmod the file')
    room = os.statvfs(here)
    share = room.f_bavail / max(1, room.f_blocks)
    what = '%s, %d MiB free' % (path, room.f_bavail * room.f_frsize >> 20)
    if share < LITTLE_SPACE:
        return Finding(WARNING, what + ', less than %d%% of the disk' % (100 * LITTLE_SPACE),
                       'make room: when the disk is full, log lines are dropped')
    return Finding(OK, what, '')


def admin_socket(path):
    """Return a Finding that says if a socket of [admin] listen can be made, and how many processes answer there.

    `path`: native text, may contain {pid}.
    """
    here = os.path.dirname(path)
    if not os.path.isdir(here):
        # With RuntimeDirectory= of systemd, it exists only as long as geproxy runs.
        return Finding(WARNING, 'there is no folder %s' % here, 'have it made before each start, writable for the user '
                       'that runs geproxy (with systemd: RuntimeDirectory=); /run is empty after a boot')
    if not os.access(here, os.R_OK | os.W_OK | os.X_OK):
        return Finding(ERROR, 'this user cannot make a socket in %s' % here,
                       'run doctor as the user that runs geproxy; if that is this user: chown or chmod the folder')
    found = [unix_sockets.answers(each) for each in unix_sockets.matches(path)]
    left = len(found) - sum(found)
    return Finding(OK, '%s: %s answering%s' % (path, plural(sum(found), 'process', 'es'), left and (
        '; %s of ended ones, which the next start removes' % plural(left, 'socket')) or ''), '')


def supervisor(path, settings):
    """Return [Finding] about the sections of a supervisord configuration that start geproxy.

    `path`: the configuration of supervisord, native text; `settings`: what was read from the ini file.
    """
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
        return [Finding(WARNING, 'no section of %s starts geproxy' % path, 'for an example, see conf/supervisord.conf')]
    found = [each for section in ours for each in _program(section, values, settings)]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    minfds = values.get(('supervisord', 'minfds'), '1024')
    if minfds.isdigit() and hard != resource.RLIM_INFINITY and int(minfds) > hard:
        found.append(Finding(ERROR, 'minfds = %s, but this host allows %d: supervisord will not start' % (minfds, hard),
                             'lower minfds; geproxy raises its own limit'))
    return found or [Finding(OK, ', '.join(ours), '')]


def _program(section, values, settings):
    patience = values.get((section, 'stopwaitsecs'), '10')
    if not patience.isdigit() or int(patience) <= settings.timeouts.drain:
        yield Finding(WARNING, '[%s] kills geproxy after stopwaitsecs = %s, but [timeouts] drain takes up to %.3g s' % (
            section, patience, settings.timeouts.drain), 'set stopwaitsecs=%d' % (settings.timeouts.drain + 5))
    if values.get((section, 'stopsignal'), 'TERM') not in ('TERM', 'INT'):
        yield Finding(ERROR, '[%s] stops geproxy with the signal %s, without a drain' % (
            section, values[section, 'stopsignal']), 'set stopsignal=TERM')
    if values.get((section, 'autorestart'), 'unexpected') == 'false':
        yield Finding(WARNING, '[%s] does not restart geproxy after a crash' % section, 'set autorestart=unexpected')
    handed = any(listener.fd is not None for listener in settings.proxy.listen)
    if section.startswith('fcgi-') and not handed:
        yield Finding(ERROR, '[%s] hands a socket to geproxy, but [proxy] listen does not use it' % section,
                      'set [proxy] listen = fd:0')
    if not section.startswith('fcgi-') and handed:
        yield Finding(ERROR, '[%s] hands no socket to geproxy, but [proxy] listen needs one' % section,
                      'make it a section [fcgi-program:NAME] with socket=, as in conf/supervisord.conf')

"""The command line."""
from __future__ import absolute_import, division, print_function

import argparse
import errno
import os
import platform
import signal
import sys

import gevent

from geproxy import __version__, wording
from geproxy.commands import docs, doctor, help, learn, live, rolling, why
from geproxy.observe.log import Log, complain
from geproxy.policy import shadows
from geproxy.service import early_signals, listeners, privileges, server, systemd
from geproxy.settings import loading

# From where modules are imported, some only when they are needed: this program's, gevent's, Python's own.
FOLDERS = [os.path.dirname(os.path.abspath(module.__file__)) for module in (loading, gevent, os)]
BAD_FILE = 78           # EX_CONFIG of sysexits(3): to start it once more, as it is, is of no use
COMMANDS = dict(live.COMMANDS, why=why.main, learn=learn.main, doctor=doctor.main, help=help.main, **rolling.COMMANDS)


def main(arguments=None):
    """Do what the command line says; the exit code: 0, 1 for what is wrong with files or ports, 2 for usage, BAD_FILE
    for a start that the ini file makes impossible."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = COMMANDS.get(arguments[0] if arguments else '')
        if command is not None:
            early_signals.release()
            signal.signal(signal.SIGINT, signal.SIG_DFL)        # or gevent prints a word about it, or a traceback
        code = (command or _main)(arguments)
        if sys.stdout is not None:      # closed, on Python 3
            sys.stdout.flush()
        return code
    except IOError as error:
        if error.errno != errno.EPIPE:
            complain('standard output: %s' % error.strerror)
        # Whoever read it has seen enough, as head has; Python would try once more, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _main(arguments):
    parser = _parser()
    options, strange = parser.parse_known_args(arguments)
    if strange:
        hint = ' (did you mean -c %s?)' % strange[0]
        if not os.path.isfile(strange[0]):
            hint = wording.did_you_mean(strange[0], COMMANDS)
        parser.error('unrecognized arguments: %s%s' % (' '.join(strange), hint))
    if options.version:
        print('geproxy %s, Python %s, gevent %s' % (__version__, platform.python_version(), gevent.__version__))
        return 0
    if options.example:
        sys.stdout.write(docs.example())
        return 0
    if options.check is not None:
        return _check(options.check or options.config, options.against)
    try:
        settings = loading.load(options.config)
    except (loading.ConfigError, IOError, OSError) as error:
        _complain(options.config, error)
        systemd.tell(systemd.status('%s' % error))        # there `systemctl status` still has it tomorrow
        return BAD_FILE
    return _serve(options.config, settings)


def _parser():
    parser = argparse.ArgumentParser(
        prog='geproxy', description='An HTTP forward proxy: the way out for hosts that have none, the window through '
        'which developers watch their HTTP. Without -c it listens on port 9000 for this host and private addresses.')
    parser.epilog = (
        'Also: geproxy why URL (what it would do with a request, and which rule has it so), geproxy learn LOG... '
        '(rules from what went through), geproxy doctor (what on this host will cause trouble), geproxy help '
        '[CHAPTER] (the manual); and of processes that run, by their [admin] listen: geproxy ps, kill ID, tail '
        '[FILTER...], top, reload, restart. Each has a --help.')
    parser.add_argument('-c', '--config', metavar='FILE', help='the ini file; without it: all defaults')
    parser.add_argument('--check', metavar='FILE', nargs='?', const='',
                        help='read FILE, or that of -c, say what is wrong with it, or would keep a process from '
                        'starting with it, and exit with 0 or 1')
    parser.add_argument('--against', metavar='OLD', help='with --check: say what a reload would change, from OLD')
    parser.add_argument('--example', action='store_true', help='print an ini file with all options, commented')
    # Not argparse's own action: on Python 2 that writes to standard error.
    parser.add_argument('--version', action='store_true', help='say which geproxy, Python and gevent this is, and exit')
    return parser


def _check(path, against):
    if not path:
        complain('--check needs a FILE')
        return 2
    loaded = []
    for each in filter(None, (path, against)):
        try:
            loaded.append(loading.load(each))
        except (loading.ConfigError, IOError, OSError) as error:
            return _complain(each, error)
    wrong = doctor.hindrances(path, loaded[0])
    if wrong:
        sys.stderr.write('%s\n' % '\n'.join(wrong))
        return 1
    print('%s: fine' % path)
    for text in (doctor.absent(path, loaded[0]) + doctor.missing_admin_folders(path, loaded[0])
                 + list(shadows.find(loaded[0].access.rules))):
        print(text)
    if against:
        print('\n'.join(loading.changes(loaded[1], loaded[0]) or ['no changes against %s' % against]))
    return 0


def _complain(path, error):
    if isinstance(error, loading.ConfigError):
        sys.stderr.write('%s\n' % error)
    else:
        complain('%s: %s' % (path, error.strerror or error))
    return 1


def _serve(path, settings):
    try:
        sockets = listeners.open_all(settings.proxy.listen)
    except listeners.ListenError as error:
        complain(error.args[0])
        return 1
    try:
        privileges.drop(settings.proxy.user, settings.proxy.group, FOLDERS)
    except privileges.PrivilegeError as error:
        complain(error.args[0])
        systemd.tell(systemd.status(error.args[0]))
        return BAD_FILE
    try:
        admin_sockets = listeners.open_all(settings.admin.listen, '[admin] listen')     # which shall be that user's
    except listeners.ListenError as error:
        complain(error.args[0])
        return 1
    if path and not os.access(path, os.R_OK):
        complain('%s: %s cannot read it: it holds until the next start, but a reload will fail' % (
            path, settings.proxy.user))
    try:
        log = Log(settings.log)
    except (IOError, OSError) as error:
        complain("cannot open the log '%s': %s" % (error.filename, error.strerror))
        return 1
    try:
        return server.Server(path, settings, log, sockets, admin_sockets).run()
    finally:
        log.close()

"""The command line: a table of commands, and the options without a command.

A module is imported when the command line needs it, so that a server does not wait for the commands, nor a command for
the server.
"""
from __future__ import absolute_import, division, print_function

import argparse
import collections
import errno
import importlib
import os
import platform
import re
import signal
import sys

import gevent

from geproxy import __version__, wording
from geproxy.observe.log import complain
from geproxy.service import early_signals
from geproxy.settings import comparing, loading

# A command: its name, its function as module.function below geproxy.commands, its arguments and a sentence for --help.
# The function takes the arguments as a list, the name first, and returns the exit code.
Command = collections.namedtuple('Command', 'name function arguments sentence')
COMMANDS = collections.OrderedDict((command.name, command) for command in (
    Command('why', 'why.main', 'URL', 'Show what the proxy would do with a request, and which rule decides.'),
    Command('learn', 'learn.main', 'LOG...', 'Write rules that allow what the logs of a proxy show.'),
    Command('doctor', 'doctor.main', '', 'Check this host for what can cause trouble.'),
    Command('status', 'live.status', '', 'Show the running processes, and which parents they can use.'),
    Command('ps', 'live.ps', '', 'Show the connections of the running processes.'),
    Command('kill', 'live.kill', 'ID...', 'End connections.'),
    Command('tail', 'live.tail', '[FILTER...]', 'Show exchanges as they end.'),
    Command('top', 'top.main', '', 'Show which clients, hosts or users use the most.'),
    Command('reload', 'rolling.reload', '', 'Let the running processes read the ini file again.'),
    Command('restart', 'rolling.restart', '[NAME]', 'Restart the processes under supervisord, one after the other.'),
    Command('help', 'help.main', '[CHAPTER]', 'Show the manual.'),
))


def main(arguments=None):
    """Run the command line.

    `arguments`: a list of native text; None for those of this process. Returns the exit code: 0; 1 if a file, a port
    or a process is in the way; 2 for wrong usage (argparse raises SystemExit(2) itself); startup.BAD_FILE if geproxy
    cannot start with the ini file.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = COMMANDS.get(arguments[0] if arguments else '')
        if command is None:
            code = _without_command(arguments)
        else:
            early_signals.release()
            signal.signal(signal.SIGINT, signal.SIG_DFL)        # without this, gevent prints a traceback at Ctrl-C
            code = find(command)(arguments)
        if sys.stdout is not None:      # on Python 3 it is None if the descriptor was closed
            sys.stdout.flush()
        return code
    except IOError as error:
        if error.errno != errno.EPIPE:
            complain('cannot write to standard output: %s' % error.strerror)
        # A reader such as `head` has closed the pipe. Python would try to flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def find(command):
    """Import the module of `command`, a Command, and return its function."""
    module, _dot, function = command.function.rpartition('.')
    return getattr(importlib.import_module('geproxy.commands.' + module), function)


def _without_command(arguments):
    parser = _parser()
    options, strange = parser.parse_known_args(arguments)
    if strange:
        hint = ' (did you mean -c %s?)' % strange[0]
        if not os.path.isfile(strange[0]):
            hint = wording.did_you_mean(strange[0], list(COMMANDS) + re.findall(r'--\w+', parser.format_help()))
        parser.error('unrecognized arguments: %s%s' % (' '.join(strange), hint))
    if options.version:
        print('geproxy %s, Python %s, gevent %s' % (__version__, platform.python_version(), gevent.__version__))
        return 0
    if options.example:
        from geproxy.commands import docs
        sys.stdout.write(docs.example())
        return 0
    if options.check is not None:
        return _check(options.check or options.config, options.against)
    return _serve(options.config)


def _parser():
    parser = argparse.ArgumentParser(
        prog='geproxy', usage='%(prog)s [-c FILE] [--check [FILE]] [...]\n       %(prog)s COMMAND [...]',
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_commands(), description='An HTTP forward proxy. '
        'Without -c it listens on port 9000,\nfor clients on this host and clients with private addresses.')
    parser.add_argument('-c', '--config', metavar='FILE', help='the ini file; without it: the defaults')
    parser.add_argument('--check', metavar='FILE', nargs='?', const='',
                        help='check FILE, or the file of -c, and start nothing: print its mistakes, and what would '
                        'keep geproxy from starting; exit code 0: fine, 1: not')
    parser.add_argument('--against', metavar='OLD', help='with --check: also print what a reload from OLD would change')
    parser.add_argument('--example', action='store_true', help='print an ini file with all options, with comments')
    # Not the action that argparse has for it: on Python 2 that writes to standard error.
    parser.add_argument('--version', action='store_true', help='print the versions of geproxy, Python and gevent')
    return parser


def _commands():
    """Return the list of commands for --help, as native text."""
    lines = ['commands (geproxy COMMAND --help tells more):']
    for command in COMMANDS.values():
        lines.append('  %-18s %s' % ((command.name + ' ' + command.arguments).strip(), command.sentence))
    return '\n'.join(lines)


def _check(path, against):
    from geproxy.commands import doctor, parent_checks, source_trials
    from geproxy.policy import shadows
    from geproxy.service import certificate_store
    if not path:
        complain('--check needs a FILE')
        return 2
    loaded = []
    for each in filter(None, (path, against)):
        try:
            loaded.append(loading.load(each))
        except (loading.ConfigError, IOError, OSError) as error:
            _complain(each, error)
            return 1
    wrong = doctor.hindrances(path, loaded[0])
    if wrong:
        sys.stderr.write('%s\n' % '\n'.join(wrong))
        return 1
    print('%s: fine' % path)
    for text in (doctor.absent(path, loaded[0]) + source_trials.absent(path, loaded[0])
                 + doctor.missing_admin_folders(path, loaded[0]) + list(shadows.find(loaded[0].access.rules))
                 + parent_checks.unused(path, loaded[0]) + parent_checks.unresolved(loaded[0])
                 + certificate_store.warnings(loaded[0].certificates)):
        print(text)
    if against:
        print('\n'.join(comparing.changes(loaded[1], loaded[0]) or ['no changes against %s' % against]))
    return 0


def _complain(path, error):
    if isinstance(error, loading.ConfigError):
        sys.stderr.write('%s\n' % error)
    else:
        complain('%s: %s' % (path, error.strerror or error))


def _serve(path):
    from geproxy.service import startup, systemd
    try:
        settings = loading.load(path)
    except (loading.ConfigError, IOError, OSError) as error:
        _complain(path, error)
        systemd.tell(systemd.status('%s' % error))      # `systemctl status` shows it even when this process is gone
        return startup.BAD_FILE
    return startup.run(path, settings)

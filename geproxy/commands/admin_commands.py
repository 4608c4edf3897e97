"""Common parts of the commands about running processes: options, errors, requests to the admin listeners, safe text.

These commands are ps, kill, tail, top, reload and restart. Several processes are shown as one.
"""
from __future__ import absolute_import, division, print_function

import argparse
import json
import re
import sys

from geproxy.admin.client import Trouble, addresses, ask, check, patterns
from geproxy.compat import to_native, to_octets
from geproxy.settings import loading

FAILED, USAGE = 1, 2    # exit codes

_not_printable = re.compile(r'[^\x20-\x7e]')


def parser(name, sentence):
    """Return an ArgumentParser with the options that all these commands take.

    `name`: of the command, as in `geproxy ps`; `sentence`: the description for --help.
    """
    options = argparse.ArgumentParser(prog='geproxy ' + name, description=sentence)
    options.add_argument('-c', '--config', metavar='FILE', help='the ini file; its [admin] listen says where the '
                         'processes are asked')
    options.add_argument('--admin', metavar='WHERE', action='append', default=[], help='ask here instead: '
                         '127.0.0.1:9001 or unix:/PATH. PATH may be a folder, or contain * or {pid}. Give it several '
                         'times to ask several processes.')
    return options


def run(command, options, arguments):
    """Parse a command line, run the command and return its exit code. Errors are printed, not raised.

    `command`: a function of the parsed arguments that returns an exit code; `options`: an ArgumentParser, see `parser`;
    `arguments`: a list of native text that begins with the name of the command.
    """
    try:
        return command(options.parse_args(arguments[1:]))
    except (Trouble, ValueError, loading.ConfigError) as error:
        complain(error)
        return FAILED if isinstance(error, Trouble) else USAGE


def complain(what):
    """Print a message to standard error. `what`: native text or an exception; may have several lines."""
    sys.stderr.write('geproxy: %s\n' % '\n'.join(plain(line) for line in str(what).split('\n')))


def plain(value):
    """Return text from elsewhere as native text without control characters, so that it cannot steer the terminal.

    `value`: text or a number; None becomes '-'.
    """
    if value is None:
        return '-'
    return _not_printable.sub('?', to_native(to_octets(value)) if not isinstance(value, (int, float)) else str(value))


def ask_all(options, method, path):
    """Send a request to all processes. Return [(where it was sent, HTTP status, lines of the body)].

    `options`: the parsed arguments; `method` and `path`: of the request, octets. A process that exists but does not
    answer is reported on standard error. Raises Trouble if no process answers.
    """
    answers, silent = ask(addresses(options.admin, options.config), method, path)
    for why in silent:
        complain(why)
    return answers


def connections(options):
    """Return (the connections of all processes as dictionaries, the number of processes).

    `options`: the parsed arguments. Raises Trouble if no process answers, or one refuses.
    """
    answers = ask_all(options, b'GET', b'/-/connections')
    check(answers)
    return [json.loads(line) for _place, _status, lines in answers for line in lines[1:]], len(answers)


def finder(options):
    """Return a function that finds the processes again and again. `options`: the parsed arguments.

    The ini file is read only once, now: a later mistake in it does not end a command that is running.
    """
    wanted = patterns(options.admin, options.config)
    return lambda: addresses(wanted, None)

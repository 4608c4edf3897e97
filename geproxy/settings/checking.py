"""The mistakes that an ini file can have, and the checks of options that depend on each other."""
from __future__ import absolute_import, division, print_function

import collections
import errno

from geproxy.auth import users
from geproxy.net import certificates
from geproxy.policy.routes import Routes
from geproxy.settings import option_types, parents_file
from geproxy.settings.rule_files import beside

# `line`: its number, 0 for none; `section`, `name`: of the option, '' for none; `what`: what is wrong.
Problem = collections.namedtuple('Problem', 'path line section name what')


class ConfigError(Exception):
    """An ini file is wrong. `problems`: a list of Problem."""

    def __init__(self, problems):
        Exception.__init__(self, '\n'.join(show_problem(problem) for problem in problems))
        self.problems = problems


def show_problem(problem):
    """Return `problem`, a Problem, as one line: path:line: [section] name: what."""
    option = ' '.join(filter(None, (problem.section and '[%s]' % problem.section, problem.name)))
    where = problem.path + (':%d' % problem.line if problem.line else '')
    return '%s: %s%s' % (where, option and option + ': ', problem.what)


def problem_at(line, entry, what):
    """Return a Problem in a line of an option.

    `line`: the ini.Line; `entry`: its ini.Entry; `what`: the message, native text.
    """
    return Problem(line.path, line.number, entry.section or '', entry.name or '', what)


def read_users(path, sections, problems):
    """Return the users.Users of the files of [auth], or None if nobody can log in.

    `path`: of the ini file; `sections`: {section: {option: value}}; `problems`: a list that gets the Problems of the
    files. Clients with certificates log in without a file of users, and may still be in groups.
    """
    auth = sections['auth']
    user_file, group_file = (name and beside(path, name) for name in (auth['users'], auth['groups']))
    if user_file or group_file and sections['tls']['clients']:
        try:
            return users.read(user_file, group_file)
        except users.FilesError as error:
            problems.extend(Problem(where, number, '', '', what) for where, number, what in error.problems)
    return None


def read_routes(path, sections, problems):
    """Return the routes.Routes of [upstream], or None if all requests go directly, from the address that the system
    chooses.

    `path`: of the ini file; `sections`: {section: {option: value}}; `problems`: a list that gets the Problems of the
    file of parents.
    """
    upstream = sections['upstream']
    rows, sources, name = upstream['routes'], upstream['source'], upstream['parents']
    facts = parents_file.Facts()
    if name:
        try:
            facts = parents_file.read(beside(path, name), sections['proxy']['user'])
        except parents_file.ParentsError as error:
            problems.extend(Problem(where, number, '', '', what) for where, number, what in error.problems)
    rows = [row._replace(routes=tuple(_complete(route, facts) for route in row.routes)) for row in rows]
    return Routes(rows, sources) if rows or sources else None


def _complete(route, facts):
    return route._replace(parents=tuple(parents_file.complete(parent, facts) for parent in route.parents))


def read_certificates(path, tls, values, running, problems):
    """Return the certificates.Loaded of the files of [tls], or None if it names no certificate.

    `path`: of the ini file; `tls`: {option: value} of [tls]; `values`: {(section, option): ini.Entry}; `running`: the
    Loaded that holds now, or None; `problems`: a list that gets the Problems of the options and their files.
    """
    ours, keys = tls['certificate'], tls['key'] or tls['certificate']
    what = '' if ours else 'set certificate, too: without it there is no TLS'
    for name in ('key', 'clients'):
        if ours and name == 'key' and len(keys) != len(ours):
            what = 'expected as many keys as certificates, in their order: %d, not %d' % (len(ours), len(keys))
        if tls[name] and what:
            entry = values['tls', name]
            problems.append(problem_at(entry.lines[0], entry, what))
            return None
    if not ours:
        return None
    pairs = tuple(certificates.Pair(beside(path, one), beside(path, key)) for one, key in zip(ours, keys))
    clients = beside(path, tls['clients']) if tls['clients'] else None
    # Each pair alone, so that all mistakes are told; then all together.
    trials = [('certificate', number, (pair,), None) for number, pair in enumerate(pairs)]
    trials.append(('clients' if clients else 'certificate', 0, pairs, clients))
    loaded, right = None, len(problems)
    for name, number, some, authorities in trials:
        if some == pairs and len(problems) > right:
            break
        try:
            loaded = certificates.read(some, authorities)
        except certificates.BadCertificate as error:
            if error.errno == errno.EACCES and running and (running.pairs, running.clients) == (pairs, clients):
                return running          # only root may read the key, and this process was root when it started
            if error.path == some[0].key != some[0].certificate and name != 'clients':
                name = 'key'
            entry = values['tls', name]
            problems.append(problem_at(_line_with(entry, number), entry, str(error)))
    return loaded


def _line_with(entry, number):
    """Return the ini.Line of an ini.Entry that has its word of that number, from 0."""
    return [line for line in entry.lines for _word in option_types.words(line.text)][number]


def check_together(sections, values, problems):
    """Add to the list `problems` what is wrong with options that depend on each other.

    `sections`: {section: {option: value}}; `values`: {(section, option): ini.Entry}.
    """
    if sections['limits']['quota'] and sections['limits']['quota_file'] == 'off':
        entry = values['limits', 'quota']
        problems.append(problem_at(
            entry.lines[0], entry, 'set quota_file, too: without the file a restart would reset all quotas'))
    auth, tls = sections['auth'], sections['tls']
    if auth['certificates'] == 'required' and not tls['clients']:
        entry = values['auth', 'certificates']
        problems.append(problem_at(
            entry.lines[0], entry, 'set [tls] clients, too: it says whose certificates of clients are good'))
    if any(listener.tls for listener in sections['proxy']['listen']) and not tls['certificate']:
        entry = values['proxy', 'listen']
        problems.append(problem_at(
            entry.lines[0], entry, 'tls needs a certificate: set [tls] certificate, too, or remove the word tls'))
    logs_in = auth['users'] or tls['clients']
    for rule in sections['access']['rules']:
        if rule.who.users and not logs_in or rule.who.groups and not (logs_in and auth['groups']):
            entry = values['access', 'rules']
            line = next(line for line in entry.lines if line.source == rule.source)
            missing = ([] if logs_in else ['users']) + (['groups'] if rule.who.groups else [])
            problems.append(problem_at(
                line, entry, 'this rule names users or groups: set [auth] %s' % ' and '.join(missing)))

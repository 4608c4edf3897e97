"""The mistakes that an ini file can have, and the checks of options that depend on each other."""
from __future__ import absolute_import, division, print_function

import collections

from geproxy.auth import users
from geproxy.policy.routes import Routes
from geproxy.settings import parents_file
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


def read_users(path, auth, problems):
    """Return the users.Users of the files of [auth], or None if it names no file of users.

    `path`: of the ini file; `auth`: {option: value} of [auth]; `problems`: a list that gets the Problems of the files.
    """
    user_file, group_file = (name and beside(path, name) for name in (auth['users'], auth['groups']))
    if user_file:
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
    rows, sources, name = upstream['routes'], upstream.get('source', ()), upstream['parents']
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


def check_together(sections, values, problems):
    """Add to the list `problems` what is wrong with options that depend on each other.

    `sections`: {section: {option: value}}; `values`: {(section, option): ini.Entry}.
    """
    if sections['limits']['quota'] and sections['limits']['quota_file'] == 'off':
        entry = values['limits', 'quota']
        problems.append(problem_at(
            entry.lines[0], entry, 'set quota_file, too: without the file a restart would reset all quotas'))
    auth = sections['auth']
    for rule in sections['access']['rules']:
        if rule.who.users and not auth['users'] or rule.who.groups and not (auth['users'] and auth['groups']):
            entry = values['access', 'rules']
            line = next(line for line in entry.lines if line.source == rule.source)
            problems.append(problem_at(line, entry, 'this rule names users or groups: set [auth] users%s' % (
                ' and groups' if rule.who.groups else '')))

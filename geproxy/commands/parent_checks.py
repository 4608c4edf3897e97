"""What `--check` and `doctor` find out about [upstream] routes and the parents in them."""
from __future__ import absolute_import, division, print_function

import os
import pwd
import re

from geproxy import errors
from geproxy.commands.findings import ERROR, OK, WARNING, Finding
from geproxy.commands.parent_trials import NOWHERE, Tester
from geproxy.compat import monotonic, to_native
from geproxy.net import address
from geproxy.net.deadlines import TimeLimit
from geproxy.policy import shadows
from geproxy.policy.routes import Parent, show_parent
from geproxy.settings import environment_routes, loading, parents_file
from geproxy.settings.rule_files import beside
from geproxy.upstream.resolver import Resolver

PATIENCE = 5.0          # seconds for looking up the names of all parents together
LOOP = 508              # the status by which a proxy says that a request has come back to it (RFC 5842, 7.2)
NO_PROXY = (400, 404, 405, 501)     # what servers that are no proxies, and TLS listeners without TLS, answer to CONNECT
_quote_phrase = re.compile(r'( answered [0-9]{3}) (.+)(?= to CONNECT )')
_REMEDIES = (           # what to do, by the error of a trial; the first row that matches counts
    ((errors.DnsError, errors.DnsTimeout), 'correct the name in [upstream] routes, or the name servers of this host'),
    ((errors.SourceMissing,), 'correct [upstream] source, or source= in the row, or give the address to this host'),
    ((errors.ConnectRefused, errors.ConnectTimeout, errors.Unroutable),
     'see if the parent runs, and if a firewall lets this host connect to it'),
)


# --- without the net

def unused(path, settings):
    """Return a line of text for each row of routes that is never used, each log-in that no row can use, and for a file
    of parents that a reload cannot read.

    `path`: the ini file, native text; `settings`: what was read from it.
    """
    rows = settings.routes.rows if settings.routes else ()
    return (_unreadable(path, settings) + _without_variables(path, settings) + shadows.find_rows(rows)
            + idle_logins(path, settings))


def _unreadable(path, settings):
    """Return a line of text if the user of [proxy] user cannot read the file of parents, as a list. Only its owner can,
    see parents_file.
    """
    user, name = settings.proxy.user, settings.upstream.parents
    if not user or not name:
        return []
    there = beside(path or '', name)
    try:
        if pwd.getpwnam(user).pw_uid in (0, os.stat(there).st_uid):
            return []
    except (KeyError, EnvironmentError):        # it has changed meanwhile
        return []
    return ['%s: user %s cannot read it, so a reload will fail: chown %s %s' % (there, user, user, there)]


def _without_variables(path, settings):
    """Return a line of text for each row `environment` that is empty, because no variable is set here."""
    if not environment_routes.is_in(settings) or not environment_routes.is_empty(environment_routes.current()):
        return []
    names = ', '.join(name for name, _requests in environment_routes.VARIABLES)
    return ['%s: environment: none of %s is set here, so this row is empty' % (line.source, names)
            for line in loading.lines_of(path, 'upstream', 'routes') if line.text == environment_routes.WORD]


def idle_logins(path, settings):
    """Return a line of text for each section of the file of parents whose parent is in no row of routes.

    `path`: the ini file, native text; `settings`: what was read from it.
    """
    name = settings.upstream.parents
    if not name:
        return []
    there = beside(path or '', name)
    try:
        facts = parents_file.read(there, settings.proxy.user)
    except parents_file.ParentsError as error:
        return [str(error)]             # it has changed meanwhile
    used = set(parent[:3] for parent in settings.routes.parents) if settings.routes else set()
    idle = [Parent(*(key + (None, None))) for key in sorted(facts) if key not in used]
    return ['%s: [%s]: no row of [upstream] routes has this parent' % (there, show_parent(each)) for each in idle]


# --- with it

def unresolved(settings, resolver=None, patience=PATIENCE):
    """Return a line of text for each parent whose name does not resolve now. May wait.

    `settings`: of loading.load; `resolver`: None for a new Resolver; `patience`: seconds for all of them together.
    """
    found, resolver, deadline = [], resolver or Resolver(), monotonic() + patience
    for parent in settings.routes.parents if settings.routes else ():
        if address.is_ip(to_native(parent.host)):
            continue
        left = deadline - monotonic()
        if left <= 0:
            return found + ['the names of the other parents were not looked up: the name servers take too long']
        try:
            resolver.resolve(parent.host, TimeLimit('dns', left, errors.DnsTimeout), '')
        except errors.DnsTimeout:
            found.append('%s: the name servers did not answer within %.3g s' % (_place(settings, parent), patience))
        except errors.ProxyError as error:
            found.append('%s: %s' % (_place(settings, parent), error))
    return found


def _place(settings, parent):
    row = next(row for row in settings.routes.rows if any(parent in route.parents for route in row.routes))
    return '%s: parent %s' % (row.source, show_parent(parent))


def examine(path, settings, tester=None):
    """Try each parent. Return [Finding]. May wait.

    `path`: the ini file, native text, or None; `settings`: of loading.load; `tester`: None for a new Tester.
    """
    found = [Finding(WARNING, text, 'remove it, or correct the URL in it') for text in idle_logins(path, settings)]
    tester = tester or Tester(settings)
    for parent in settings.routes.parents if settings.routes else ():
        for sources in sorted(set(route.sources for route in settings.routes.names if parent in route.parents)):
            found.append(_judge(settings, parent, sources, tester.try_tunnel(parent, NOWHERE, sources)))
    return found


def _judge(settings, parent, sources, trial):
    """Return the Finding about a Trial of a parent, which was connected to from one of `sources`."""
    name = show_parent(parent) + (' from ' + ' or '.join(sources) if sources else '')
    error, steps = trial.error, [name + ': ' + '; '.join(trial.steps)] if trial.steps else []
    if error is None:
        return Finding(OK, steps[0], '')
    if isinstance(error, errors.ParentRefused) and trial.steps:
        if error.status == LOOP:
            return Finding(ERROR, '; '.join(steps + [str(error)]), 'it leads back to this proxy: correct [upstream] '
                           'routes here, or the routes of the parent')
        return _refused(steps, error)
    remedy = next((text for kinds, text in _REMEDIES if isinstance(error, kinds)), '')
    severity = ERROR if isinstance(error, errors.ParentLoginFailed) or _is_only_way(settings, parent) else WARNING
    return Finding(severity, '; '.join((steps or [name]) + [str(error)]), remedy)


def _refused(steps, error):
    """Return the Finding about a ParentRefused. NOWHERE cannot be reached: most refusals are as good as a tunnel."""
    said = _quote_phrase.sub(r'\1 "\2"', str(error))
    text = '; '.join(steps + ['it%s, a name that leads nowhere' % said[said.find(' answered '):]
                              if ' answered ' in said else said])
    if error.status in NO_PROXY:
        return Finding(WARNING, text, 'is this a proxy, and is its scheme in [upstream] routes right?')
    if error.status == 403:
        text += ' (if it refuses all requests, too, it may want another log-in or certificate)'
    return Finding(OK, text, '')


def _is_only_way(settings, parent):
    """Return True if a row of routes has no other route than this parent."""
    return any(parent in route.parents for row in settings.routes.rows if len(row.routes) == 1 for route in row.routes)

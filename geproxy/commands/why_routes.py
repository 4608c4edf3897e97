"""What `why` finds out about [upstream] routes: the row that decides, whether the name is looked up here, the states of
the parents in the running processes, and a trial of each route.
"""
from __future__ import absolute_import, division, print_function

import collections
import json

from geproxy import errors
from geproxy.admin import client
from geproxy.commands.parent_trials import Tester
from geproxy.compat import to_native, to_octets
from geproxy.net.address import known_address
from geproxy.observe.formats import parent_state
from geproxy.policy import routes
from geproxy.settings import environment_routes

# A route of the row. `shown`: as in the log; `states`: sentences about its parent; `steps`: sentences of what worked;
# `error`: the ProxyError of the step that did not, or None.
Way = collections.namedtuple('Way', 'shown states steps error')
# If a route fails with one of these, a client gets the next one.
UNREACHED = (errors.ParentFailed, errors.ConnectRefused, errors.ConnectTimeout, errors.Unroutable, errors.DnsError,
             errors.DnsTimeout)
HERE = ' (environment: read from the variables of this shell, which may differ from those of the running process)'
NOT_KNOWN = 'its state is not known: %s'


class Routing(object):
    """The routes of one request, tried one after the other. `row`: FILE:LINE: the row that decides, '' if none does;
    `ways`: the Ways so far."""

    def __init__(self, settings, policy, question, by_rule):
        """`settings`: of loading.load; `policy`: the access.Access; `question`: the rules.Question; `by_rule`: the text
        of the rule that waits for the address, '' if there is none."""
        self._access, self._policy, self._question, self._by_rule = settings.access, policy, question, by_rule
        self._choice = settings.routes.choose(question.host, question.port, question.method == b'CONNECT')
        self._tester = Tester(settings, policy.check_parent)
        self.row = next(('%s: %s' % (row.source, row.text) for row in settings.routes.rows
                         if row.source == self._choice.where), '')
        self._here = HERE if environment_routes.is_in(settings) else ''
        self.ways = []

    def try_all(self, directly, look_up, states):
        """Try each route, and raise the ProxyError that a client would get, if all are in the order of the row.

        `directly`: a function of True if there is no other way before, that tries the direct way, and returns
        sentences; `look_up`: a function of True if the parent gets the name, that returns the addresses that may be
        asked for, native texts; both raise ProxyError; `states`: a function of the name of a parent that returns
        sentences. May wait.
        """
        outcomes = []
        for route in self._choice.routes:
            way = self._through(route, look_up, states) if route.parents else self._directly(directly)
            self.ways.append(way)
            outcomes.append(way.error)
        final = [error for error in outcomes if not isinstance(error, UNREACHED)]
        if final and final[0] is not None:
            raise final[0]
        if not final:
            if len(outcomes) == 1 and (self.ways[0].shown == 'direct' or isinstance(outcomes[0], errors.SourceMissing)):
                raise outcomes[0]
            raise errors.ParentFailed('no way to %s:%d: %s' % (
                to_native(self._question.host), self._question.port,
                '; '.join('%s: %s' % (way.shown, way.error) for way in self.ways)))

    def show_all(self, states):
        """Note the routes, and try none. `states`: as for `try_all`."""
        self.ways = [Way(routes.show(route), self._states(route, states), (), None) for route in self._choice.routes]

    def first(self):
        """Return the first route that did not fail, or else the first one, native text."""
        return next((way.shown for way in self.ways if way.error is None), self.ways[0].shown if self.ways else None)

    def lines(self):
        """Return all that was found out as lines of native text."""
        lines = ['  routes: %s%s' % (self.row or 'no row matches, so the way is direct', self._here)]
        for way in self.ways:
            lines.append('  %s%s' % (way.shown, ': ' + '; '.join(way.states) if way.states else ''))
            lines += ['    ' + step for step in way.steps]
            if way.error is not None:
                lines.append('    failed: %s' % way.error)
        return lines

    def as_json(self):
        """Return all that was found out as a value that json can write."""
        return collections.OrderedDict((('row', self.row or None), ('ways', [collections.OrderedDict((
            ('route', way.shown), ('states', way.states), ('steps', way.steps),
            ('error', None if way.error is None else str(way.error)),
            ('reason', way.error and way.error.token))) for way in self.ways])))

    def _states(self, route, states):
        return states(routes.show_parent(route.parents[-1])) if route.parents else ()

    def _directly(self, directly):
        try:
            return Way('direct', (), directly(not self.ways), None)
        except errors.ProxyError as error:
            return Way('direct', (), (), error)

    def _through(self, route, look_up, states):
        parent, question, steps = route.parents[-1], self._question, ()
        plain = question.method != b'CONNECT' and routes.is_forwarding(parent)
        target = routes.Target(b'http' if plain else b'https', question.host, question.port)
        error = None
        try:
            if known_address(question.host) is not None:
                look_up(True)           # it is judged in any case
            else:
                why = self._looks_up(route)
                steps = ('the name is looked up here, because %s' % why if why else 'the parent looks the name up',)
                if why:
                    addresses = look_up(plain or not self._asks_for_address(parent))
                    if not plain and self._asks_for_address(parent):
                        target = target._replace(host=to_octets(addresses[0]))
            trial = self._tester.try_request if plain else self._tester.try_tunnel
            trial = trial(parent, target, route.sources)
            steps, error = steps + tuple(trial.steps), trial.error
        except errors.ProxyError as failure:
            error = failure
        return Way(routes.show(route), self._states(route, states), steps, error)

    def _asks_for_address(self, parent):
        return self._choice.resolve or parent.scheme == routes.RESOLVING

    def _looks_up(self, route):
        """Return why the name is looked up here before the parent of a route is asked; '' if it is not."""
        if self._by_rule:
            return 'a rule depends on its address: ' + self._by_rule
        if self._choice.resolve:
            return 'the row has resolve=here'
        if route.parents[-1].scheme == routes.RESOLVING:
            return 'socks5:// means that (socks5h:// lets the parent do it)'
        return '[access] private = deny' if not self._access.private else (
            '[access] deny_addresses is set' if self._access.deny_addresses else '')


def states_of(path, settings, net):
    """Return a function of the name of a parent, native text, that returns sentences about its state in the processes.

    `path`: of the ini file, native text or None; `settings`: what was read from it: its [admin] listen says where the
    processes are asked; `net`: False if nobody may be asked. May wait.
    """
    rows, why = [], 'no process was asked'
    if net and settings.routes and not settings.admin.listen:
        why = 'no process can be asked, as the ini file has no [admin] listen'
    elif net and settings.routes:
        try:
            answers = client.ask(client.addresses([], path), b'GET', b'/-/status')[0]
            rows = [json.loads(line) for _place, status, lines in answers if status == 200 for line in lines]
            why = 'the running process does not have this parent: reload it'
        except (client.Trouble, ValueError, EnvironmentError) as error:
            why = str(error).split('\n')[0]
    return lambda name: _states(rows, name) or (NOT_KNOWN % why,)


def _states(rows, name):
    found = collections.OrderedDict()
    for row in rows:
        for parent in row.get('parents', ()):
            if parent['parent'] == name:
                found.setdefault(parent_state(parent), []).append(row['pid'])
    return tuple('%s (%s %s)' % (state, 'process' if len(pids) == 1 else 'processes',
                                 ', '.join('%d' % pid for pid in pids)) for state, pids in found.items())

"""The wiring, from one immutable Settings. Swapped whole on reload; holds no state of any connection."""
from __future__ import absolute_import, division, print_function

import traceback

from geproxy import errors
from geproxy.auth.logins import ANONYMOUS
from geproxy.compat import monotonic, to_octets
from geproxy.exchange.timeouts import waits
from geproxy.http1.basic import parse_credentials
from geproxy.limits.rates import key_of
from geproxy.net.address import within
from geproxy.net.this_host import is_local
from geproxy.policy import forwarded
from geproxy.policy.access import Access
from geproxy.policy.treatment import PLAIN, Treatment


class Proxy(object):
    """What a handler needs to know and to have, from one Settings."""

    def __init__(self, settings, upstream, say, observers, taken, quota, logins, is_own, life):
        """`settings`: a loading.Settings, of which `limits.connections` is settled; `upstream`, `say` (log.Log.say),
        `observers` (an observers.Observers), `taken` (a
        limits.Limits), `quota` (a quota.Quota or None) and `logins` (a logins.Logins): those of the process, which
        outlive a reload; `is_own`: see access.Access; `life`: has `draining`, true if the process is to
        stop. That is not a setting: it holds for exchanges of yesterday, too."""
        self.settings = settings
        self.timeouts = settings.timeouts
        self.waits = waits(settings.timeouts)
        self.limits = settings.limits
        self.access = self.vouched_access = Access(settings.access, is_own, is_local)
        if settings.proxy.proxy_protocol:
            # Whoever a PROXY header says the client is: it is not on this host, so it has no part in its loopback.
            self.vouched_access = Access(settings.access._replace(loopback='deny'), is_own, is_local)
        self.upstream = upstream
        self.say, self.observers = say, observers
        self.auth = settings.auth
        self._logins = logins
        self._taken, self._quota = taken, quota if settings.limits.quota else None
        self.name = settings.proxy.name
        self.upgrades = settings.access.upgrades
        self._forwarded = settings.proxy.forwarded
        self.users = settings.users                 # a users.Users: who may log in; None if nobody need
        self.counts = self.limits.requests is not None or self._quota is not None       # `admit` may say no
        # `treat` has something to do, even if no rule says so.
        self.treats = self._forwarded != 'off' or self.limits.rate is not None or self._quota is not None
        self.name_octets = to_octets(self.name).lower()
        self.life = life
        # What to add to Via, by the version that a message came with (RFC 9110, 7.6.3).
        self.vias = dict(((1, minor), to_octets('1.%d %s' % (minor, self.name)) if settings.proxy.via else b'')
                         for minor in range(10))

    def identify(self, request, client, ip):
        """Who asks -> logins.User, or ANONYMOUS if nobody need say. May wait. `request`: a Request; `client`, `ip`: the
        client's address as native text, and as IP. Raises what Logins.check does, and BadRequest."""
        values = request.values(b'proxy-authorization')
        if not values and within(ip, self.auth.exempt):
            return ANONYMOUS
        if len(values) > 1:
            raise errors.BadRequest('there are %d Proxy-Authorization fields' % len(values))
        credentials = parse_credentials(values[0]) if values else None
        if values and credentials is None:
            raise errors.LoginRequired('this proxy asks for a name and a password, by the scheme Basic')
        return self._logins.check(
            self.users, credentials, key_of(None, client, self.limits.ipv6_prefix), self.waits.login)

    def warnings(self, now):
        """What an operator should know of the rules, as texts. `now`: seconds since the epoch."""
        users = self.users
        groups = frozenset().union(*users.groups.values()) if users else frozenset()
        return self.access.ruleset.warnings(now, frozenset(users.by_name) if users else frozenset(), groups)

    def admit(self, key, now):
        """One more request, by whom limits.key_of names. `now`: seconds since the epoch. Raises TooManyRequests,
        QuotaExceeded."""
        if self.limits.requests is not None:
            self._taken.check_request(key, self.limits.requests, self.limits.burst, monotonic())
        if self._quota is not None:
            self._quota.check(key, self.limits.quota, now)

    def treat(self, request, client, key, rule):
        """Return the Treatment of an exchange that `rule` (None: no rule) has allowed.

        `request`: a Request; `client`: its
        address as native text; `key`: of limits.key_of.
        """
        if rule is None and not self.treats:
            return PLAIN
        options = rule and rule.options
        edits = forwarded.edits(request, client, self._forwarded, options)
        rate = options and options.rate
        shares = [(key, self.limits.rate)] + ([('rule ' + rule.source, rate)] if rate else [])
        charge = self._quota and self._quota.charge(key, self.limits.quota)
        return Treatment(edits, *self._taken.paces(shares, charge, monotonic()))

    def pace_up(self, key):
        """How fast octets may come that nobody wants, from the client that limits.key_of names -> a Pace, or None.
        They count for [limits] rate, but not for the quota: a refusal costs none."""
        return self._taken.paces([(key, self.limits.rate)], None, monotonic())[0]

    def report_bug(self, record):
        """What nobody expected; called while the exception is handled."""
        self.say('[%s] a bug, please report it:\n%s' % (record.id, traceback.format_exc()))

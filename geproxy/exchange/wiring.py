"""Connects the wings: makes all that exchanges need from one Settings. A reload makes a new one.

A Proxy is never changed, and holds no state of any connection.
"""
from __future__ import absolute_import, division, print_function

import traceback

from geproxy import errors
from geproxy.auth.logins import ANONYMOUS, User
from geproxy.compat import monotonic, to_octets
from geproxy.exchange.fetch import fetch, layered
from geproxy.exchange.socks_dialect import VERSIONS
from geproxy.exchange.timeouts import waits
from geproxy.http1.taps import joined
from geproxy.limits.rates import key_of
from geproxy.net.address import parse_ip, within
from geproxy.net.this_host import can_bind, is_local
from geproxy.policy import forwarded
from geproxy.policy.access import Access
from geproxy.policy.treatment import PLAIN, Treatment

# The layers around `fetch`, the outermost first: functions of the Settings that return a layer (see fetch.layered), or
# None if these Settings need none.
LAYERS = ()
# Functions of the Settings that return a maker of taps, or None if these Settings need none. A maker is a function of
# an Exchange that returns a tap (see taps) or None. It is called after the policy has allowed the request.
TAPS = ()


class Proxy(object):
    """All that an exchange needs, made from one Settings."""

    def __init__(self, settings, upstream, say, observers, taken, quota, logins, is_own, life):
        """`settings`: a loading.Settings whose `limits.connections` is a number; `upstream`, `say` (log.Log.say),
        `observers` (an observers.Observers), `taken` (a rates.Consumption), `quota` (a quota.Quota or None) and
        `logins` (a logins.Logins): those of the process, which outlive a reload; `is_own`: see access.Access; `life`:
        has `draining`, True if the process is to stop. That is no setting, as it also holds for exchanges that began
        under other settings."""
        self.settings = settings
        self.timeouts = settings.timeouts
        self.waits = waits(settings.timeouts)
        self.limits = settings.limits
        self.access = self.balanced_access = Access(settings.access, is_own, is_local)
        if settings.proxy.proxy_protocol:
            # A client that a load balancer names is not on this host: it may not reach the loopback of this host.
            self.balanced_access = Access(settings.access._replace(loopback='deny'), is_own, is_local)
        self.routes = settings.routes               # the routes.Routes; None if all requests go directly
        self.upstream = upstream
        self.say, self.observers = say, observers
        self.auth = settings.auth
        self._logins = logins
        self._taken, self._quota = taken, quota if settings.limits.quota else None
        self.name = settings.proxy.name
        self.speaks_tls = settings.certificates is not None
        self.upgrades = settings.access.upgrades
        self.spoken = VERSIONS if settings.proxy.socks else ()      # the kinds of protocols that clients may speak
        self._forwarded = settings.proxy.forwarded
        self._use_logins(settings)
        self.counts = self.limits.requests is not None or self._quota is not None       # `admit` may refuse
        # `treat` has something to do, even if no rule asks for it.
        self.treats = self._forwarded != 'off' or self.limits.rate is not None or self._quota is not None
        self.name_octets = to_octets(self.name).lower()
        self.life = life
        # What to add to Via, by the version that a message came with (RFC 9110, 7.6.3).
        self.vias = dict(((1, minor), to_octets('1.%d %s' % (minor, self.name)) if settings.proxy.via else b'')
                         for minor in range(10))
        self.layers = [layer for layer in (make(settings) for make in LAYERS) if layer is not None]
        self.fetch = layered(fetch, self.layers)    # a function of an Exchange that returns an Answer
        makers = [maker for maker in (make(settings) for make in TAPS) if maker is not None]
        # A function of an Exchange that returns its tap or None; None if no exchange has one.
        self.tap = (lambda exchange: joined([maker(exchange) for maker in makers])) if makers else None

    def _use_logins(self, settings):
        # The users.Users who may log in by a password; None if no password is needed.
        self.users = settings.users if settings.auth.users else None
        self.groups = settings.users.groups if settings.users else {}
        # Log-ins by certificate: 'accepted' or 'required'; '' if clients are not asked for certificates.
        self.certificates = settings.auth.certificates if settings.tls.clients else ''
        self.logs_in = self.users is not None or bool(self.certificates)        # a client may or must log in

    def by_certificate(self, name, ip):
        """Return the logins.User that a certificate names, ANONYMOUS if the client need not log in, or None if it has
        to log in by a password.

        `name`: the user in the certificate of the client, octets, or None; `ip`: of the client, an IP. Raises
        CertificateRequired.
        """
        if name is not None and self.certificates:
            return User(name, self.groups.get(name, frozenset()))
        if self.certificates == 'required' and not within(ip, self.auth.exempt):
            raise errors.CertificateRequired('this proxy asks for a certificate of the client')
        return ANONYMOUS if self.users is None else None

    def identify(self, credentials, client, ip):
        """Return the logins.User that logs in by a password, or ANONYMOUS if the client need not log in. May wait.

        `credentials`: (name, password) as octets, or None; `client`, `ip`: the client's address as native text, and as
        an IP. Raises what Logins.check does.
        """
        if credentials is None and within(ip, self.auth.exempt):
            return ANONYMOUS
        return self._logins.check(
            self.users, credentials, key_of(None, client, self.limits.ipv6_prefix), self.waits.login)

    def warnings(self, now):
        """Return what an operator should know about the rules, as a list of texts. `now`: seconds since the epoch."""
        groups = frozenset().union(*self.groups.values()) if self.groups else frozenset()
        users = frozenset(self.users.by_name) if self.users else frozenset()
        return self.access.ruleset.warnings(now, None if self.certificates else users, groups)

    def missing_sources(self):
        """Return the local addresses that connections are to leave from, and that this host does not have, as a list of
        native texts."""
        return [source for source in (self.routes.sources if self.routes else ()) if not can_bind(parse_ip(source))]

    def admit(self, key, now):
        """Count one more request for the limits. Raises TooManyRequests, QuotaExceeded.

        `key`: the key for limits, see rates.key_of; `now`: seconds since the epoch.
        """
        if self.limits.requests is not None:
            self._taken.check_request(key, self.limits.requests, self.limits.burst, monotonic())
        if self._quota is not None:
            self._quota.check(key, self.limits.quota, now)

    def admit_handshake(self, client):
        """Count one more TLS handshake of a client. `client`: its key for limits. Raises TooManyRequests."""
        if self.limits.requests is not None:
            self._taken.check_handshake(client, self.limits.requests, self.limits.burst, monotonic())

    def treat(self, request, client, key, rule):
        """Return the Treatment of an exchange that is allowed.

        `request`: a message.Request; `client`: address of the client, native text; `key`: the key for limits, see
        rates.key_of; `rule`: the rules.Rule that allowed the request, or None.
        """
        if rule is None and not self.treats:
            return PLAIN
        options = rule and rule.options
        edits = forwarded.edits(request, client, self._forwarded, options)
        rate = options and options.rate
        shares = [(key, self.limits.rate)] + ([('rule ' + rule.source, rate)] if rate else [])
        charge = self._quota and self._quota.charge(key, self.limits.quota)
        return Treatment(edits, *self._taken.paces(shares, charge, monotonic()))

    def pace_of_unwanted(self, up_pace, key):
        """Return the rates.Pace for octets that a client sends and that are thrown away, or None for no limit.

        These octets count for [limits] rate, but not for the quota, because a refusal costs no quota. `up_pace`: the
        Pace of the exchange, or None; `key`: the key for limits, see rates.key_of.
        """
        return up_pace.uncharged() if up_pace else self._taken.paces([(key, self.limits.rate)], None, monotonic())[0]

    def report_bug(self, record):
        """Log the exception that is being handled, which is a bug. `record`: the Record of the exchange."""
        self.say('[%s] a bug, please report it:\n%s' % (record.id, traceback.format_exc()))

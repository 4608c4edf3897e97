"""One process: its connections, signals, reloads and its stop. Knows no HTTP.

Signals go into a queue, and one loop acts on them. There is no process manager here: supervisord or systemd starts the
process again. It runs one event loop: see net.one_hub.
"""
from __future__ import absolute_import, division, print_function

import functools
import signal
import socket
import time

import gevent
from gevent.event import Event
from gevent.queue import Empty, Queue

from geproxy import errors
from geproxy.admin import status
from geproxy.admin.listener import Admin
from geproxy.admin.watchdog import Watchdog, freeze
from geproxy.auth import logins, users
from geproxy.compat import monotonic, signal_handler
from geproxy.exchange import handshaking, introducing, strangers
from geproxy.exchange.conversation import Conversation
from geproxy.exchange.wiring import Proxy
from geproxy.limits import host_memory, quota, rates
from geproxy.net import memory, one_hub, supervise, workers
from geproxy.net.address import parse_ip, unmap, within
from geproxy.observe.observers import Observers
from geproxy.service import certificate_store, descriptors, early_signals, ending, listeners, reloads, systemd
from geproxy.service.acceptor import Acceptor
from geproxy.service.housekeeping import Housekeeping
from geproxy.upstream.parents import States
from geproxy.upstream.pool import Pool
from geproxy.upstream.resolver import Resolver
from geproxy.wording import plural

FEW_CONNECTIONS = 100       # [limits] connections = auto below this is reported: the limit of descriptors is too low
MOST_TOLD = 100             # refused connections at once that get an answer; more are closed without one
HANDSHAKE = 0.05            # seconds that clients in the middle of connecting get when the process stops
QUOTA_PATIENCE = 2.0        # seconds to write the quota file when the process stops
EVENTS = {signal.SIGTERM: 'stop', signal.SIGINT: 'stop', signal.SIGHUP: 'reload', signal.SIGUSR1: 'reopen',
          signal.SIGUSR2: 'dump'}


class Server(object):
    """The process, from its start to its exit.

    `live`: {Conversation: its greenlet}, the client connections; `accepted`, `rejected`: how many there were, and how
    many of these were refused; `draining`: true once it is told to stop; `proxy`: the wiring.Proxy with the settings
    that hold now; `only_tls`: a set of (address, port), the listeners that take nothing but TLS.
    """

    def __init__(self, path, settings, log, sockets, admin_sockets=()):
        """`path`: of the ini file as native text, or None; `settings`: what it says, a loading.Settings; `log`: a
        log.Log; `sockets`, `admin_sockets`: listening sockets, for clients and for the operator."""
        self.log = log
        self.reloads = reloads.Reloads(path, log, lambda: self.proxy.settings, self._use)
        self.sockets = sockets
        self.addresses = [sock.getsockname()[:2] for sock in sockets]
        self.only_tls = frozenset(sock.getsockname()[:2] for sock in sockets if listeners.is_tls(sock))
        self.live = {}                          # {Conversation: its greenlet}
        self.proxy = None
        self.draining = False
        self.accepted = self.rejected = 0
        self._answering = 0                     # connections that are being refused just now
        self.strangers = strangers.Strangers('access')
        self.handshakes = handshaking.Handshakes()
        self.descriptors = descriptors.Descriptors(log.say)
        self.observers = Observers(log.say, [log])
        self.watchdog = Watchdog(log.say)
        self.admin = Admin(self, admin_sockets, lambda sock, handle: Acceptor(
            sock, handle, self._report_shortage, lambda: False)) if admin_sockets else None
        self._is_own = listeners.own_test(sock.getsockname()[:2] for sock in list(sockets) + list(admin_sockets)
                                          if sock.family != socket.AF_UNIX)
        self._upstream = Pool(Resolver(), 0, 1, States(log.say))
        self._rates = rates.Consumption()
        path = settings.limits.quota_file
        self._logins = logins.Logins(log.say)
        self.certificates = certificate_store.Store(log.say)
        self._quota = None if path == 'off' else quota.Quota(path, log.say, time.time())
        self._events = Queue()
        self._told_to_reload = Event()
        self._greenlets = []                    # those that run as long as the process does
        self._housekeeping = Housekeeping(self, self._logins, self._quota, [
            ('descriptors', self.descriptors.fill_reserve), ('origins', self._limit_kept),
            ('certificates', self.certificates.refresh)])
        self._use(settings)
        self._acceptors = [Acceptor(
            sock, functools.partial(self._serve, sock.getsockname()[:2], listeners.is_tls(sock)),
            self._report_shortage, self.descriptors.free_reserve) for sock in sockets]

    # --- settings

    def _use(self, settings):
        """Use other settings from now on. Exchanges that have begun keep theirs."""
        settings = self._with_connections(settings)
        memory.budget.most = settings.limits.memory or host_memory.for_connections()
        self._upstream.use(settings.upstream)
        self._upstream.parents.use(settings.routes.parents if settings.routes else {})
        self.certificates.use(settings)
        # From so many clients on, kept connections to origins have to go to make room for them.
        self._crowd = (self.descriptors.left(0) - settings.upstream.keep) // descriptors.EACH
        if settings.users is not None and (self.proxy is None or settings.users is not self.proxy.settings.users):
            for text in users.advice(settings.users):
                self.log.say(text)
        self.proxy = Proxy(settings, self._upstream, self.log.say, self.observers, self._rates, self._quota,
                           self._logins, self._is_own, self)
        self._housekeeping.warn_soon()

    def _with_connections(self, settings):
        """Return settings that have a number for [limits] connections. Report a limit that the host does not allow."""
        room, wanted, limit = self.descriptors.room(), settings.limits.connections, self.descriptors.limit
        if wanted is None:
            if room < FEW_CONNECTIONS:
                self.log.say('only %d file descriptors are allowed, enough for %s: raise ulimit -n' % (
                    limit, plural(room, 'connection')))
            return settings._replace(limits=settings.limits._replace(connections=room))
        if wanted > room:
            self.log.say('[limits] connections = %d may need %d file descriptors, but only %d are allowed: raise '
                         'ulimit -n' % (wanted, descriptors.EACH * wanted + descriptors.SPARE, limit))
        return settings

    def use_users(self, old, fresh):
        """Use `fresh` in the place of `old`, both users.Users. Return False if a reload has already replaced `old`."""
        settings = self.proxy.settings
        if settings.users is not old:
            return False
        self._use(settings._replace(users=fresh))
        return True

    def reload(self, who, dry_run=False):
        """Read the ini file again and use it, and log the outcome. May wait.

        `who`: the cause of the reload, native text, for the log; `dry_run`: True to only read the file, and log
        nothing. Returns a reloads.Outcome.
        """
        if dry_run:
            return self.reloads.run(dry_run)
        if self.draining:
            return reloads.Outcome(False, ['nothing changed: this process is stopping'])
        systemd.reloading()
        outcome = self.reloads.run()
        for line in outcome.lines:
            self.log.say('%s: %s' % (who, line))
        if not self.draining:
            systemd.tell(systemd.READY, systemd.status(self._summary()))
        return outcome

    # --- connections

    def _serve(self, address, tls, sock, peer):
        """Serve one connection, in a greenlet. Waits.

        `address`: (address, port) of the listener; `tls`: True if it takes nothing but TLS; `sock`: a native socket;
        `peer`: (address, port, ...) of the client.
        """
        self.accepted += 1
        try:
            conversation = Conversation(sock, unmap(parse_ip(peer[0])), address, self)
        except (socket.error, errors.ProxyError):
            return                              # the client left already
        try:
            self._admit(conversation)
        except errors.Denied as error:
            self.rejected += 1
            self.strangers.turn_away(conversation.client, conversation.client_key, functools.partial(
                strangers.refusal, error, self.proxy.name))
            return
        except errors.ProxyError as error:
            self._refuse(conversation, error)
            return
        try:
            context = self.certificates.context
            if context is None and not tls or self.handshakes.pass_through(conversation, context, tls):
                conversation.run()
        except errors.ProxyError as error:
            self._refuse(conversation, error)
        finally:
            del self.live[conversation]
            self._rates.leave(conversation.client_key)

    def _admit(self, conversation):
        """Add a connection to `live`. May wait for a PROXY header.

        Raises Denied for a client that is not in [access] clients, and another ProxyError if a limit is reached.
        """
        balanced = within(conversation.ip, self.proxy.settings.proxy.proxy_protocol)
        if not balanced:
            conversation.check_client()              # before all else: such a client must cost next to nothing
        self.check_room()
        conversation.number = self.accepted
        self.live[conversation] = gevent.getcurrent()
        try:
            if balanced:
                # Only the PROXY header tells whose limits count.
                introducing.introduce(conversation, self.certificates.context is not None)
                if not conversation.client.ended:
                    conversation.check_client()
            self._rates.enter(conversation.client_key, self.proxy.limits.per_client)
        except BaseException:                   # also when the process stops meanwhile
            del self.live[conversation]
            raise

    def check_room(self):
        """Raise Full if there is no room for another connection."""
        most = self.proxy.limits.connections
        if self.descriptors.reserve is None:
            raise errors.Full('out of file descriptors')
        if len(self.live) >= most:
            raise errors.Full('all %d connections are taken' % most)
        if len(self.live) >= self._crowd:
            self._limit_kept(1)

    def _limit_kept(self, more=0):
        """Keep only as many connections to origins as clients leave descriptors for. `more`: clients yet to count."""
        left = self.descriptors.left(len(self.live) + more)
        self._upstream.keep = max(0, min(self.proxy.settings.upstream.keep, left))
        self._upstream.prune()

    def _refuse(self, conversation, error):
        """Answer a connection that is not admitted. May wait, as `conversation.turn_away` does."""
        self.rejected += 1
        if self._answering >= MOST_TOLD:
            conversation.client.close()
            return
        self._answering += 1
        try:
            conversation.turn_away(error)
        finally:
            self._answering -= 1

    def _report_shortage(self):
        self.descriptors.report_shortage(len(self.live))

    def end(self, conversations, error):
        """End connections. Waits. `conversations`, `error`: as for ending.end."""
        ending.end(self.live, conversations, error)

    # --- the life of the process

    def run(self):
        """Serve until the process is told to stop. Waits. Returns the exit code, 0."""
        for number, what in EVENTS.items():
            signal_handler(number, self._events.put, what)
        for number in early_signals.take():
            self._events.put(EVENTS[number])
        self.start()
        self.log.say(self._summary())
        if self.admin is not None:
            self.log.say('admin: ' + ' '.join(self.admin.addresses))
        systemd.tell(systemd.READY, systemd.status(self._summary()))
        while True:
            event = self._events.get()
            if event == 'reload':
                self._told_to_reload.set()
            elif event == 'reopen':
                self.log.reopen()
            elif event == 'dump':
                self._dump()
            else:
                break
        self.drain()
        return 0

    def _dump(self):
        """Log what all connections are doing (SIGUSR2)."""
        try:
            self.log.say('\n'.join(status.state(self)))
        except Exception:
            supervise.failed('SIGUSR2', self.log.say)

    def _reload_when_told(self):
        """Reload at each SIGHUP. In a greenlet of its own: a file that cannot be read must not delay a stop."""
        while True:
            self._told_to_reload.wait()
            self._told_to_reload.clear()
            self.reload('SIGHUP')

    def start(self):
        """Begin to accept connections. Raises RuntimeError if another thread runs an event loop: see net.one_hub."""
        one_hub.claim()
        self.watchdog.start()
        freeze()                                # only here: later it would also freeze objects of live connections
        self.descriptors.fill_reserve()
        self._greenlets = [
            gevent.spawn(supervise.keep_running, name, loop, self.log.say, gevent.sleep) for name, loop in (
                ('housekeeping', self._housekeeping.run), ('systemd watchdog', self._tell_alive),
                ('reload', self._reload_when_told))]
        for acceptor in self._acceptors + ([self.admin] if self.admin else []):
            acceptor.start()

    def _tell_alive(self):
        """Tell systemd regularly that the event loop runs, if its watchdog is on."""
        seconds = systemd.watchdog_interval()
        while seconds is not None:
            systemd.tell(systemd.ALIVE)
            gevent.sleep(seconds)

    def _summary(self):
        """Return what this process serves, as one line of native text."""
        listening = ', '.join(status.show_listener(sock.getsockname()[:2]) + ' (TLS)' * listeners.is_tls(sock)
                              for sock in self.sockets)
        settings = self.proxy.settings
        clients = ' '.join(sorted(set(network.text for network in settings.access.clients))) or 'nobody'
        return 'listening on %s for %s; %s; up to %d connections; as %s' % (
            listening, clients, self.reloads.path or 'all defaults', self.proxy.limits.connections, self.proxy.name)

    # --- its stop

    def drain(self):
        """Stop: accept no more connections, let exchanges end, then end what is left.

        Waits for [timeouts] drain at most, less if SIGTERM or SIGINT comes again.
        """
        seconds = self.proxy.timeouts.drain
        self.draining = True
        self._close_listeners()
        for conversation in list(self.live):
            conversation.end_soon()
        connections = plural(len(self.live), 'connection')
        systemd.tell(systemd.STOPPING, systemd.status('stopping: waiting for %s' % connections))
        if self.live:
            self.log.say('stopping: waiting for %s, at most %.3g s' % (connections, seconds))
        self._wait_for_exchanges(monotonic() + seconds)
        if self.live:
            self.log.say('%s cut off' % plural(len(self.live), 'connection'))
        self.end(list(self.live), errors.Drained('the proxy stopped'))
        gevent.killall(self._greenlets)
        workers.end()
        self._upstream.close_idle()
        if self._quota is not None:
            self._quota.close(QUOTA_PATIENCE)
        if self.admin is not None:
            self.admin.close()
        self.watchdog.stop()
        self._housekeeping.report_log()
        self.log.say('stopped')

    def _close_listeners(self):
        """Accept the clients that have connected already, then close the listeners. Waits HANDSHAKE seconds at most."""
        if [acceptor for acceptor in self._acceptors if acceptor.refuse_new()]:
            gevent.sleep(HANDSHAKE)
        for acceptor in self._acceptors:
            acceptor.finish()
        gevent.sleep(0)                         # lets the greenlets of these clients begin, so that `live` has them

    def _wait_for_exchanges(self, deadline):
        """Wait until all connections have ended, the deadline has come, or another signal asks to stop.

        `deadline`: monotonic seconds. The other signals are acted on meanwhile.
        """
        while self.live and monotonic() < deadline:
            try:
                event = self._events.get(timeout=0.02)
            except Empty:
                continue
            if event == 'stop':
                self.log.say('told again to stop: stopping at once')
                return
            if event == 'dump':
                self._dump()
            elif event == 'reopen':
                self.log.reopen()
            elif event == 'reload':
                self.log.say('SIGHUP: nothing changed: this process is stopping')

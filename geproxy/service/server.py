"""One process: its listeners, connections, signals, reload and drain. Knows no HTTP.

Signals queue, one loop acts. No process manager of our own: supervisord or systemd keeps us.
"""
from __future__ import absolute_import, division, print_function

import functools
import os
import resource
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
from geproxy.exchange import introducing, strangers
from geproxy.exchange.conversation import Conversation
from geproxy.exchange.wiring import Proxy
from geproxy.limits import host_memory, quota, rates
from geproxy.net import memory, supervise, workers
from geproxy.net.address import parse_ip, unmap, within
from geproxy.service import early_signals, listeners, reloads, systemd
from geproxy.service.acceptor import Acceptor
from geproxy.service.housekeeping import Housekeeping
from geproxy.upstream.pool import Upstream
from geproxy.upstream.resolver import Resolver

SPARE_FDS = 64              # for logs, listeners, the hub, look-ups and pipes; others are for connections, two for each
MOST_CONNECTIONS = 50000    # of `auto`, on hosts without a limit
TURNED_AWAY = 100           # refused connections at once that are given a second to read why
BRIEFLY = 1.0               # seconds that a connection has to end, once it is told to
MOMENT = 0.01               # seconds between two looks whether it has
HANDSHAKE = 0.05            # seconds for those that have begun to connect
FEW_CONNECTIONS = 100       # of `auto`: fewer are hardly meant
QUOTA_PATIENCE = 2.0        # seconds for the file of quotas at the end
EVENTS = {signal.SIGTERM: 'stop', signal.SIGINT: 'stop', signal.SIGHUP: 'reload', signal.SIGUSR1: 'reopen',
          signal.SIGUSR2: 'dump'}


class Server(object):
    """The process, from its start to its exit."""

    def __init__(self, path, settings, log, sockets, admin_sockets=()):
        """`path`: of the ini file, or None; `settings`: what it said; `log`: a log.Log; `sockets`, `admin_sockets`:
        listening."""
        self.log = log
        self.reloads = reloads.Reloads(path, log, lambda: self.proxy.settings, self._use)
        self.sockets = sockets
        self.places = [sock.getsockname()[:2] for sock in sockets]
        self.live = {}                          # {Conversation: its greenlet}
        self.proxy = None
        self.draining = False                   # told to stop
        self.accepted = 0                       # connections, in all
        self.watchdog = Watchdog(log.say)
        self.admin = Admin(self, admin_sockets, lambda sock, handle: Acceptor(
            sock, handle, self._starved, lambda: False)) if admin_sockets else None
        self._is_own = listeners.own_test(sock.getsockname()[:2] for sock in list(sockets) + list(admin_sockets)
                                          if sock.family != socket.AF_UNIX)
        self._resolver = Resolver()
        self._upstream = Upstream(self._resolver, 0, 1)
        self._taken = rates.Limits()
        path = settings.limits.quota_file
        self._logins = logins.Logins(log.say)
        self._quota = None if path == 'off' else quota.Quota(path, log.say, time.time())
        self._events = Queue()
        self._reserve = None                    # a file descriptor, given up when there is no other
        self._told_to_reload = Event()
        self._greenlets = []                    # that run as long as the process does
        self._house = Housekeeping(self, self._logins, self._quota, [
            ('descriptors', self._open_reserve), ('origins', self._settle_keep)])
        self._starved_said = 0.0
        self.rejected = 0                       # connections that were turned away, in all
        self._turned_away = 0                   # ... just now
        self.strangers = strangers.Strangers('access')
        self._descriptors = raise_descriptor_limit()
        self._use(settings)
        self._acceptors = [Acceptor(sock, functools.partial(self._serve, sock.getsockname()[:2]), self._starved,
                                    self._take_reserve) for sock in sockets]

    # --- settings

    def _use(self, settings):
        """Go on with other settings; exchanges that have begun keep theirs."""
        room = max(1, min(MOST_CONNECTIONS, (self._descriptors - SPARE_FDS) // 2))
        wanted = settings.limits.connections
        if wanted is None:
            if room < FEW_CONNECTIONS:
                self.log.say('there are only %d file descriptors (ulimit -n): room for %s' % (
                    self._descriptors, count_of(room, 'connection')))
            settings = settings._replace(limits=settings.limits._replace(connections=room))
        elif wanted > room:
            self.log.say('[limits] connections = %d need up to %d file descriptors, and there are %d: raise ulimit -n'
                         % (wanted, 2 * wanted + SPARE_FDS, self._descriptors))
        memory.budget.most = settings.limits.memory or host_memory.for_connections()
        self._upstream.keep, self._upstream.keep_time = settings.upstream.keep, settings.upstream.keep_time
        self._crowd = (self._descriptors - SPARE_FDS - settings.upstream.keep) // 2
        self._resolver.keep, self._resolver.keep_failed = (
            settings.upstream.dns_keep, settings.upstream.dns_keep_failed)
        if settings.book is not None and (self.proxy is None or settings.book is not self.proxy.settings.book):
            for text in users.advice(settings.book):
                self.log.say(text)
        observer = self.admin.observer if self.admin else self.log
        self.proxy = Proxy(settings, self._upstream, observer, self._taken, self._quota, self._logins,
                           self._is_own, self)
        self._house.warn_soon()

    def use_users(self, old, book):
        """Go on with another users.Book; false if a reload was faster."""
        settings = self.proxy.settings
        if settings.book is not old:
            return False
        self._use(settings._replace(book=book))
        return True

    def reload(self, who, dry_run=False):
        """Read the ini file again, for `who`, and log what came of it -> a reloads.Outcome. May wait."""
        if dry_run:
            return self.reloads.run(dry_run)
        if self.draining:
            return reloads.Outcome(False, ['nothing changed, for it was told to stop'])
        systemd.reloading()
        outcome = self.reloads.run()
        for line in outcome.lines:
            self.log.say('%s: %s' % (who, line))
        if not self.draining:
            systemd.tell(systemd.READY, systemd.status(self._summary()))
        return outcome

    # --- connections

    def _serve(self, place, sock, peer):
        """The greenlet of one connection. `place`: of the listener; `peer`: (address, port, ...)."""
        self.accepted += 1
        try:
            handler = Conversation(sock, unmap(parse_ip(peer[0])), place, self)
        except (socket.error, errors.ProxyError):
            return                              # gone before we looked
        try:
            self._admit(handler)
        except errors.Denied as error:
            self.rejected += 1
            self.strangers.turn_away(handler.client, handler.client_key, functools.partial(
                strangers.refusal, error, self.proxy.name))
            return
        except errors.ProxyError as error:
            self._turn_away(handler, error)
            return
        try:
            handler.run()
        finally:
            del self.live[handler]
            self._taken.leave(handler.client_key)

    def _admit(self, handler):
        """Count it, for as long as it runs. Raises why it may not: Denied if it is a stranger."""
        balanced = within(handler.ip, self.proxy.settings.proxy.proxy_protocol)
        if not balanced:
            handler.check_client()              # a stranger gets no place
        self.check_room()
        handler.number = self.accepted
        self.live[handler] = gevent.getcurrent()
        try:
            if balanced:
                introducing.introduce(handler)  # only now it is known whose limits count
                if not handler.client.ended:
                    handler.check_client()
            self._taken.enter(handler.client_key, self.proxy.limits.per_client)
        except BaseException:                   # a stop in the middle of it, too
            del self.live[handler]
            raise

    def check_room(self):
        """Raises Full if there is no room for another connection."""
        most = self.proxy.limits.connections
        if self._reserve is None:
            raise errors.Full('out of file descriptors')
        if len(self.live) >= most:
            raise errors.Full('all %d connections are taken' % most)
        if len(self.live) >= self._crowd:
            self._settle_keep(1)

    def _settle_keep(self, more=0):
        """Let kept connections to origins have the file descriptors that clients need not have. `more`: clients that
        come just now."""
        left = self._descriptors - SPARE_FDS - 2 * (len(self.live) + more)
        self._upstream.keep = max(0, min(self.proxy.settings.upstream.keep, left))
        self._upstream.prune()

    def _turn_away(self, handler, error):
        self.rejected += 1
        if self._turned_away >= TURNED_AWAY:
            handler.client.close()
            return
        self._turned_away += 1
        try:
            handler.turn_away(error)
        finally:
            self._turned_away -= 1

    def _starved(self):
        if monotonic() - self._starved_said > 10 or not self._starved_said:
            self._starved_said = monotonic()
            self.log.say('out of file descriptors (%d) with %d connections: clients get 503; raise ulimit -n' % (
                self._descriptors, len(self.live)))

    def _take_reserve(self):
        if self._reserve is None:
            return False
        os.close(self._reserve)
        self._reserve = None
        return True

    def _open_reserve(self):
        if self._reserve is None:
            try:
                self._reserve = os.open(os.devnull, os.O_RDONLY)
            except OSError:
                pass                            # still starved; until then connections are turned away

    # --- the life of the process

    def run(self):
        """Serve until told to stop; the exit code."""
        for number, what in EVENTS.items():
            signal_handler(number, self._events.put, what)
        for number in early_signals.take():
            self._events.put(EVENTS[number])
        self.start()
        self.log.say(self._summary())
        if self.admin is not None:
            self.log.say('admin: ' + ' '.join(self.admin.places))
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
        """SIGUSR2: what goes on here?"""
        try:
            self.log.say('\n'.join(status.state(self)))
        except Exception:
            supervise.failed('SIGUSR2', self.log.say)

    def _reload_when_told(self):
        """A greenlet of its own for SIGHUP: a file that cannot be read must not delay a stop."""
        while True:
            self._told_to_reload.wait()
            self._told_to_reload.clear()
            self.reload('SIGHUP')

    def start(self):
        """Begin to accept connections."""
        self.watchdog.start()
        freeze()                                # not at a reload: connections of then would never be looked at again
        self._open_reserve()
        self._greenlets = [gevent.spawn(supervise.keep, name, loop, self.log.say, gevent.sleep) for name, loop in (
            ('housekeeping', self._house.run), ('the beat for systemd', self._beat),
            ('reload', self._reload_when_told))]
        for acceptor in self._acceptors + ([self.admin] if self.admin else []):
            acceptor.start()

    def _beat(self):
        """A greenlet: tell systemd, if it watches, that this process turns."""
        seconds = systemd.beat()
        while seconds is not None:
            systemd.tell(systemd.ALIVE)
            gevent.sleep(seconds)

    def _summary(self):
        places = ', '.join(status.show_place(place) for place in self.places)
        settings = self.proxy.settings
        clients = ' '.join(sorted(set(network.text for network in settings.access.clients))) or 'nobody'
        return 'listening on %s for %s; %s; up to %d connections; as %s' % (
            places, clients, self.reloads.path or 'all defaults', self.proxy.limits.connections, self.proxy.name)

    def drain(self):
        """Accept no more; let exchanges end, for [timeouts] drain or until told again; then end what is left."""
        drain = self.proxy.timeouts.drain
        self.draining = True
        if [acceptor for acceptor in self._acceptors if acceptor.hush()]:
            gevent.sleep(HANDSHAKE)
        for acceptor in self._acceptors:
            acceptor.finish()
        gevent.sleep(0)                         # who was accepted just now is counted from here on
        for handler in list(self.live):
            handler.end_soon()
        systemd.tell(systemd.STOPPING, systemd.status('%s to end' % count_of(len(self.live), 'connection')))
        if self.live:
            self.log.say('stopping: %s, %.3g s to end' % (count_of(len(self.live), 'connection'), drain))
        deadline = monotonic() + drain
        while self.live and monotonic() < deadline:
            try:
                event = self._events.get(timeout=0.02)
                if event == 'stop':
                    self.log.say('told again to stop: at once')
                    break
                if event == 'dump':
                    self._dump()
                elif event == 'reopen':
                    self.log.reopen()
                elif event == 'reload':
                    self.log.say('SIGHUP: nothing changed, as this process is stopping')
            except Empty:
                pass
        self._cut()
        gevent.killall(self._greenlets)
        workers.end()
        self._upstream.close_idle()
        if self._quota is not None:
            self._quota.close(QUOTA_PATIENCE)
        if self.admin is not None:
            self.admin.close()
        self.watchdog.stop()
        self._house.tell_of_the_log()
        self.log.say('stopped')

    def _cut(self):
        if self.live:
            self.log.say('%s cut' % count_of(len(self.live), 'connection'))
        self.end(list(self.live), errors.Drained('the proxy stopped'))

    def end(self, handlers, error):
        """End connections, and wait until they have ended, which takes `BRIEFLY` seconds at most.

        A client that waits for its response gets `error` as that, and has this time to take it.
        """
        self._interrupt(handlers, error)
        deadline = monotonic() + BRIEFLY
        while handlers and monotonic() < deadline:
            gevent.sleep(MOMENT)
            handlers = [handler for handler in handlers if handler in self.live]
        self._interrupt(handlers, None)
        gevent.sleep(0)

    def _interrupt(self, handlers, error):
        for handler in handlers:
            workers.interrupt(functools.partial(self._ending, handler, error))

    def _ending(self, handler, error):
        """(greenlet, what to throw into it to end that connection), None if it has ended. `error`: None for a plain
        end."""
        greenlet = self.live.get(handler)
        if greenlet is None:
            return None
        return greenlet, error is not None and handler.end(error) or gevent.GreenletExit()


def count_of(number, what):
    """1 connection, 2 connections."""
    return '%d %s%s' % (number, what, '' if number == 1 else 's')


def raise_descriptor_limit():
    """Raise the soft limit of file descriptors to the hard one: how many there are now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError, resource.error):
            pass                                # some systems have a lower limit of their own: the old one stays
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft if soft != resource.RLIM_INFINITY else 2 * MOST_CONNECTIONS + SPARE_FDS

"""The certificates of this proxy as they are now: taken from settings, and read again when their files change.

There is one Store for the process. Handshakes and connections that have begun keep the context that they have.
"""
from __future__ import absolute_import, division, print_function

import collections
import errno
import os
import time
import traceback

from geproxy.compat import monotonic
from geproxy.net import certificates
from geproxy.net.background import Background

PATIENCE = 30.0         # seconds after which another thread looks at the files; the first one may hang for ever
SOON = 21               # days before the end of a certificate from which the log warns
A_DAY = 86400

# A certificate, for people. `path`: native text; `names`: a list of native text; `until`: seconds since the epoch;
# `days`: whole days left, negative if it has expired.
Row = collections.namedtuple('Row', 'path names until days')


class Store(object):
    """The certificates in use.

    `context`: the ssl.SSLContext for the next handshake, None if there is no TLS; `failing`: True while files have
    changed and cannot be used.
    """

    def __init__(self, say):
        """`say`: a function that writes native text to the error log."""
        self.context = None
        self.failing = False
        self._say = say
        self._given = self._loaded = None       # what the settings had; what holds now: both Loaded, or None
        self._seen = None                       # the stamp of the last look, if the files have changed
        self._tried = None                      # the stamp of files that were read and are wrong
        self._checked = True                    # it was looked whether this user may read the files again
        self._thread = Background(1)
        self._look, self._since = None, 0.0     # the result of the look that is under way, and when it began

    def use(self, settings):
        """Use the certificates of `settings`, a loading.Settings, for handshakes from now on."""
        given = settings.certificates
        if given is self._given:
            return                              # and not what was read at the start, if the files have changed since
        if self._look is not None:
            self._give_up()                     # it looks at files that may not be used any more
        self._given, self._checked = given, False
        self._take(given)

    def _take(self, loaded):
        self._loaded, self.context = loaded, loaded and loaded.context
        self._seen = self._tried = None
        self.failing = False

    def refresh(self):
        """Look if the files have changed, and use them then. Call this about once a second. Never waits.

        Files that are wrong change nothing; that is said once. They are read again when they change again. Files that
        still change are read a second later, because a certificate and its key cannot be replaced at the same time.
        """
        if self._loaded is None or self._is_looking():
            return
        loaded = self._loaded
        # Raises if no thread can be started: then it is the next time.
        result = self._thread.do(_look_again, loaded, self._seen, self._tried, self._checked)
        self._look, self._since = result, monotonic()
        result.rawlink(lambda result: self._looked(result, loaded))

    def _is_looking(self):
        if self._look is None:
            return self._thread.is_stuck()
        if monotonic() - self._since < PATIENCE:
            return True
        self._say('the certificates stay as they were: %s could not be looked at within %d s; it is tried again' % (
            self._loaded.pairs[0].certificate, PATIENCE))
        self._give_up()
        return True

    def _give_up(self):
        self._thread.give_up(self._look)
        self._look = None

    def _looked(self, result, loaded):
        """Called by the hub. `result`: of `_look_again`; `loaded`: the Loaded that it was given."""
        if result is not self._look:
            return                              # it was given up, or a reload has brought other files
        self._look = None
        stamp, fresh, why = result.value[0]
        self._seen, self._checked = stamp, True
        if fresh is not None:
            self._take(fresh)
            self._say('certificates reread: ' + '; '.join(map(show, self.view())))
            for text in self.warnings():
                self._say(text)
        elif why and stamp == loaded.stamp:
            self._say(why)
        elif why:
            self._tried, self.failing = stamp, True
            self._say('the certificates stay as they were: %s' % why)
        elif stamp == loaded.stamp and self._tried is not None:
            self._take(loaded)                  # the files are as they were

    def view(self):
        """Return the Rows of the certificates in use, as a list; one of [tls] clients, if it is set, comes last."""
        return rows(self._loaded)

    def warnings(self):
        """Return what the operator should know of the certificates in use, as a list of native texts."""
        return warnings(self._loaded)


def rows(loaded):
    """Return the Rows of `loaded`, a certificates.Loaded or None, as a list."""
    now = time.time()
    return [Row(path, facts.names, facts.until, int((facts.until - now) // A_DAY))
            for path, facts in (loaded.facts if loaded else ())]


def show(row):
    """Return `row`, a Row, as native text for people."""
    return '%s (%s) until %s' % (row.path, ' '.join(row.names) or 'no name', _day(row.until))


def warnings(loaded):
    """Return what an operator should know of certificates, as a list of native texts.

    `loaded`: a certificates.Loaded, or None.
    """
    said, now = [], time.time()
    for row, (_path, facts) in zip(rows(loaded), loaded.facts if loaded else ()):
        if row.until < now:
            said.append('%s expired on %s, and is refused: renew it' % (row.path, _day(row.until)))
        elif row.days < SOON:
            said.append('%s ends on %s, in %d days: renew it; the new file is read at once' % (
                row.path, _day(row.until), row.days))
        if facts.since > now:
            said.append('%s is good from %s on, and is refused until then: look at the clock of this host' % (
                row.path, _day(facts.since)))
    return said + list(loaded.doubts if loaded else ())


def _day(seconds):
    return time.strftime('%Y-%m-%d', time.gmtime(seconds))


def _look_again(loaded, seen, tried, checked):
    """In a native thread: return (the stamp of the files; a new Loaded or None; what is wrong, native text, or '')."""
    stamp = None
    try:
        stamp = certificates.stamp(certificates.paths_of(loaded.pairs, loaded.clients))
        if not checked and stamp == loaded.stamp:
            return stamp, None, _unreadable(loaded)     # at the start, so that it is told before the first renewal
        if stamp in (loaded.stamp, tried) or stamp != seen:
            return stamp, None, ''
        return stamp, certificates.read(loaded.pairs, loaded.clients), ''
    except certificates.BadCertificate as error:
        return stamp, None, error.errno == errno.EACCES and _unreadable(loaded) or str(error)
    except Exception:                   # the hub expects an answer, or the files would never be read again
        return stamp, None, 'a bug, please report it:\n%s' % traceback.format_exc()


def _unreadable(loaded):
    """Return what to do if this user may not read the files again, native text; '' if it may."""
    for path in certificates.paths_of(loaded.pairs, loaded.clients):
        try:
            with open(path, 'rb'):
                pass
        except (IOError, OSError) as error:
            if error.errno == errno.EACCES:
                return ('%s cannot be read by the user of this process (number %d), so a new one cannot be used: let '
                        'that user read it, or restart geproxy after each renewal' % (path, os.geteuid()))
    return ''

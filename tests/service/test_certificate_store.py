"""The certificates in use: what settings bring, what changed files bring, and what wrong files do not."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import time

import gevent
import pytest
from gevent.event import Event
from helpers import PATIENCE
from test_certificates import JOE, OTHER, PROXY, shaken
from test_tls import path

from geproxy.net import certificates
from geproxy.service import certificate_store
from geproxy.service.certificate_store import Store, rows, warnings
from geproxy.settings import loading


class Said(list):
    """What the store says, and a wait for it."""

    def __init__(self):
        list.__init__(self)
        self._changed = Event()

    def __call__(self, text):
        """Say it."""
        self.append(text)
        self._changed.set()


def put(folder, pair):
    """Copy the files of a Pair into `folder`, under the same names each time."""
    for source, name in zip(pair, ('a.pem', 'a.key')):
        shutil.copyfile(source, str(folder.join('new')))
        os.rename(str(folder.join('new')), str(folder.join(name)))


def settings(folder, more='clients = %s' % path('ca.pem')):
    """Return Settings with the files that `put` puts there."""
    return loading.load(str(folder.join('x.ini')), ['[tls]', 'certificate = a.pem', 'key = a.key', more])


def rounds(store, number=3):
    """Let the store look at its files some times, as the housekeeping does."""
    for _ in range(number):
        store.refresh()
        look = store._look
        assert look is None or look.wait(PATIENCE) is not None
        gevent.sleep(0)                 # what the hub was told to call comes before that


def shown(store):
    """Return the name of the certificate that a client sees."""
    client = shaken(store.context, certificates.client_context(path('ca.pem')), 'localhost')[1]
    return certificates.user_of(client.certificate())


@pytest.fixture
def store():
    """A Store that remembers what it says, as `said`."""
    said = Said()
    found = Store(said)
    found.said = said
    return found


def test_there_is_no_tls_without_certificates(store):
    store.use(loading.load(None))
    rounds(store)
    assert (store.context, store.view(), store.warnings(), store.said) == (None, [], [], [])


def test_the_certificates_of_the_settings_are_used(store, tmpdir):
    put(tmpdir, PROXY)
    store.use(settings(tmpdir))
    assert shown(store) == b'proxy.test'
    ours, theirs = store.view()
    assert ours.path == str(tmpdir.join('a.pem')) and ours.names == ['proxy.test', 'localhost', '127.0.0.1']
    assert ours.days == theirs.days > 36000 and ours.until > time.time() and theirs.names == ['geproxy test ca']


def test_a_changed_file_is_used_and_what_has_begun_goes_on(store, tmpdir):
    put(tmpdir, PROXY)
    store.use(settings(tmpdir))
    server, client = shaken(store.context, certificates.client_context(path('ca.pem')), 'localhost')
    before = store.context
    rounds(store)
    assert store.context is before
    put(tmpdir, OTHER)
    rounds(store)
    assert shown(store) == b'other.test'
    assert [text.partition(':')[0] for text in store.said] == ['certificates reread']
    client.send(b'on')
    assert server.recv(10) == b'on'


def test_a_pair_that_changes_in_two_steps_is_never_told_as_wrong(store, tmpdir):
    put(tmpdir, PROXY)
    store.use(settings(tmpdir))
    shutil.copyfile(OTHER.certificate, str(tmpdir.join('a.pem')))
    rounds(store, 1)
    shutil.copyfile(OTHER.key, str(tmpdir.join('a.key')))
    rounds(store, 2)
    assert shown(store) == b'other.test' and len(store.said) == 1


def test_a_wrong_file_keeps_the_old_certificate_and_says_why_once(store, tmpdir):
    put(tmpdir, PROXY)
    store.use(settings(tmpdir))
    tmpdir.join('a.key').write('-----BEGIN PRIVATE KEY-----\nhalf')
    rounds(store, 6)
    assert shown(store) == b'proxy.test' and store.failing
    assert len(store.said) == 1 and 'stay as they were' in store.said[0] and 'a.key' in store.said[0]
    tmpdir.join('a.key').remove()
    rounds(store, 6)
    assert len(store.said) == 2 and 'No such file' in store.said[1]
    put(tmpdir, OTHER)
    rounds(store)
    assert shown(store) == b'other.test' and not store.failing and len(store.said) == 3


def test_a_wrong_file_that_is_put_right_again_is_no_failure(store, tmpdir):
    put(tmpdir, PROXY)
    store.use(settings(tmpdir))
    os.rename(str(tmpdir.join('a.key')), str(tmpdir.join('away')))
    rounds(store)
    assert store.failing
    os.rename(str(tmpdir.join('away')), str(tmpdir.join('a.key')))
    rounds(store)
    assert not store.failing and shown(store) == b'proxy.test'


def test_settings_with_the_same_certificates_do_not_bring_old_ones_back(store, tmpdir):
    put(tmpdir, PROXY)
    found = settings(tmpdir)
    store.use(found)
    put(tmpdir, OTHER)
    rounds(store)
    store.use(found._replace(users=None))           # as when the file of users has changed
    assert shown(store) == b'other.test'
    put(tmpdir, PROXY)
    store.use(settings(tmpdir))                     # a reload reads them again
    assert shown(store) == b'proxy.test'
    store.use(loading.load(None))
    assert store.context is None


@pytest.fixture
def hanging(store, tmpdir):
    """Let the store look at a key that is a pipe, which hangs. Gives the look; afterwards the pipe ends."""
    put(tmpdir, PROXY)
    store.use(settings(tmpdir))
    key = str(tmpdir.join('a.key'))
    os.remove(key)
    os.mkfifo(key)
    rounds(store, 1)
    store.refresh()
    look = store._look

    def release():
        while not look.ready():
            try:
                os.close(os.open(key, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                pass                        # nobody reads just now
            gevent.sleep(0.01)
        gevent.sleep(0)
    yield look, release
    with gevent.Timeout(PATIENCE):
        release()


def test_a_reload_wins_over_a_look_that_is_under_way_and_hangs(store, hanging, tmpdir):
    look, release = hanging
    put(tmpdir.mkdir('new'), OTHER)
    store.use(settings(tmpdir.join('new')))
    with gevent.Timeout(PATIENCE):
        rounds(store)                       # which does not wait for the pipe
        assert not look.ready() and shown(store) == b'other.test'
        release()
    assert shown(store) == b'other.test' and store.said == []


def test_a_file_that_hangs_is_told_and_others_are_looked_at(store, hanging, monkeypatch, tmpdir):
    monkeypatch.setattr(certificate_store, 'PATIENCE', 0)
    store.refresh()
    assert 'stay as they were' in store.said[0] and 'could not be looked at within' in store.said[0]
    _look, release = hanging
    os.rename(str(tmpdir.join('a.key')), str(tmpdir.join('pipe')))
    put(tmpdir, OTHER)
    rounds(store)
    assert shown(store) == b'other.test'
    os.rename(str(tmpdir.join('pipe')), str(tmpdir.join('a.key')))
    with gevent.Timeout(PATIENCE):
        release()
    assert shown(store) == b'other.test' and len(store.said) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can stop being able to read a file')
def test_a_key_that_only_root_may_read_stays_and_the_log_says_what_to_do(store, tmpdir):
    put(tmpdir, PROXY)
    for folder in [tmpdir] + tmpdir.parts()[2:]:
        os.chmod(str(folder), 0o755)
    os.chmod(str(tmpdir.join('a.key')), 0o600)
    before = settings(tmpdir)                       # as at the start, before the change of the user
    os.seteuid(65534)
    try:
        store.use(before)
        rounds(store, 4)
        reloaded = loading.load(str(tmpdir.join('x.ini')), ['[tls]', 'certificate = a.pem', 'key = a.key',
                                                            'clients = %s' % path('ca.pem')], before)
        assert reloaded.certificates is before.certificates
        with pytest.raises(loading.ConfigError) as raised:
            settings(tmpdir)
        assert 'x.ini:3: [tls] key: cannot read' in str(raised.value)
    finally:
        os.seteuid(0)
    assert len(store.said) == 1 and 'restart geproxy after each renewal' in store.said[0]
    assert shown(store) == b'proxy.test'


def test_what_is_doubtful_is_told_even_when_the_files_have_gone(store, tmpdir):
    chain = tmpdir.join('a.pem')
    chain.write(open(PROXY.certificate).read() + open(OTHER.certificate).read())
    shutil.copyfile(PROXY.key, str(tmpdir.join('a.key')))
    store.use(settings(tmpdir))
    chain.remove()
    said, = store.warnings()
    assert said.startswith('%s is not in order: certificate 2 ' % chain)


def test_no_two_lines_of_a_view_for_one_file_without_clients(tmpdir):
    put(tmpdir, PROXY)
    assert len(rows(settings(tmpdir, '').certificates)) == 1 and rows(None) == warnings(None) == []


def test_a_certificate_that_ends_soon_or_is_not_yet_good_is_told():
    facts = certificates.facts(JOE.certificate)
    for since, until, what in ((0, time.time() - 60, 'expired on'), (0, time.time() + 20.5 * 86400, 'in 20 days'),
                               (time.time() + 86400, time.time() + 99 * 86400, 'is good from'),
                               (0, time.time() + 22.5 * 86400, None)):
        loaded = certificates.Loaded((), None, (), None, (('a.pem', facts._replace(since=since, until=until)),), ())
        said = warnings(loaded)
        assert len(said) == (what is not None) and (what is None or what in said[0])

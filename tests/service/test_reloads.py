"""Reloads: one at a time, compared with the settings that hold, and given up when a file cannot be read."""
from __future__ import absolute_import, division, print_function

import os

import gevent
import pytest
from processes import folder, wait_until, write

from geproxy.service import reloads
from geproxy.settings import loading


class Log(object):
    """In the place of a log.Log."""

    def __init__(self):
        self.changed, self.said = [], []
        self.say = self.said.append

    def change(self, settings, _call):
        """Use other settings."""
        self.changed.append(settings)


class Process(object):
    """In the place of a server.Server: has settings, and can use others."""

    def __init__(self, here, text):
        self.path, self.log = os.path.join(here, 'proxy.ini'), Log()
        write(self.path, text)
        self.settings = loading.load(self.path)
        self.reloads = reloads.Reloads(self.path, self.log, lambda: self.settings, self.use)

    def use(self, settings):
        """Use these settings."""
        self.settings = settings

    def run(self, text=None, **options):
        """Write the file and reload it. Return (whether it is good, the lines)."""
        if text is not None:
            write(self.path, text)
        outcome = self.reloads.run(**options)
        return outcome.good, outcome.lines


@pytest.fixture
def process():
    """Give a Process with a file."""
    with folder() as here:
        yield Process(here, '[limits]\nconnections = 200\n[access]\nrules =\n    allow any a.test\n')


CHANGED = '[limits]\nconnections = 400\n[access]\nrules =\n    allow any a.test\n    allow any b.test\n'
SAID = ['[access] rules: +allow any b.test', '[limits] connections: 200 -> 400']


def test_a_dry_run_lists_the_changes_and_changes_nothing(process):
    before = process.settings
    for _ in range(2):
        assert process.run(CHANGED, dry_run=True) == (True, SAID)
    assert process.settings is before and process.log.changed == []
    assert (process.reloads.done, process.reloads.refused) == (0, 0)


def test_a_reload_reports_the_changes_once(process):
    assert process.run(CHANGED) == (True, SAID + [process.path + ' read'])
    assert process.settings.limits.connections == 400 and len(process.log.changed) == 1
    assert process.run() == (True, [process.path + ' read'])
    assert process.run(dry_run=True) == (True, [])
    assert process.reloads.done == 2


@pytest.mark.parametrize('dry_run', [False, True])
def test_a_bad_file_is_refused_whole_with_its_lines(process, dry_run):
    before = process.settings
    good, lines = process.run('[limits]\nconnections = 400\n[access]\nclient = any\nhttp_ports = x\n', dry_run=dry_run)
    assert not good and process.settings is before and process.log.changed == []
    assert '\n%s:4: [access] client: unknown option' % process.path in lines[0]
    assert '\n%s:5: [access] http_ports: ' % process.path in lines[0]
    assert (process.reloads.failing, process.reloads.refused) == (not dry_run, not dry_run)
    assert process.run(CHANGED)[0] and not process.reloads.failing


def test_a_change_that_needs_a_restart_is_reported_each_time_and_does_not_hold(process):
    text = '[proxy]\nlisten = 127.0.0.1:1\n[limits]\nconnections = 200\n[access]\nrules =\n    allow any a.test\n'
    name, said = process.settings.proxy.name, '[proxy] listen: *:9000 -> 127.0.0.1:1 (needs a restart)'
    for _ in range(2):
        assert process.run(text) == (True, [said, process.path + ' read'])
        assert process.run(dry_run=True) == (True, [said])
    assert process.settings.proxy.listen[0].port == 9000
    assert process.settings.proxy.name == name          # the default name comes from the listeners


def test_a_new_name_of_the_proxy_holds_at_once(process):
    assert process.run('[proxy]\nname = other\n')[0]
    assert process.settings.proxy.name == 'other'


def test_a_file_that_is_gone_and_a_bug_change_nothing(process):
    os.unlink(process.path)
    good, lines = process.run()
    assert not good and lines[0].startswith('nothing changed: cannot open %s: ' % process.path)
    process.log = process.reloads._log = None
    good, lines = process.run(CHANGED)
    assert not good and 'a bug, please report it' in lines[0] and 'AttributeError' in lines[0]
    assert process.settings.limits.connections == 200


def test_two_reloads_at_once_run_one_after_the_other(process):
    write(process.path, CHANGED)
    both = [gevent.spawn(process.run) for _ in range(2)]
    gevent.joinall(both)
    assert sorted(len(each.value[1]) for each in both) == [1, 3]


def test_without_an_ini_file_a_reload_is_refused():
    outcome = reloads.Reloads(None, None, None, None).run()
    assert (outcome.good, outcome.lines) == (False, ['nothing changed: this process was started without an ini file (-c)'])


@pytest.fixture
def pipe(process, monkeypatch):
    """Give a pipe in the place of the ini file. At the end something is written into it."""
    monkeypatch.setattr(reloads, 'SLOW', 0.05)
    monkeypatch.setattr(reloads, 'PATIENCE', 0.1)
    os.unlink(process.path)
    os.mkfifo(process.path)
    aside = process.path + '.pipe'
    os.rename(process.path, aside)
    os.symlink(aside, process.path)
    yield process.path
    wait_until(lambda: all(job.ready() for job in process.reloads._thread._given_up) or _write_nothing(aside), 'the threads')


def _write_nothing(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        pass                            # no process reads it at the moment


def test_a_file_that_cannot_be_read_in_time_is_given_up_and_another_one_is_read(process, pipe):
    good, lines = process.run()
    assert (good, lines) == (False, [
        'nothing changed: %s, or a file that it names, could not be read within 0 s' % pipe])
    assert process.log.said == ['after 0 s the reload still waits for %s, or a file that it names; the old settings '
                                'hold until then' % pipe]
    assert process.reloads.failing
    os.unlink(pipe)
    assert process.run(CHANGED)[0] and process.settings.limits.connections == 400


def test_the_number_of_threads_that_hang_is_bounded(process, pipe):
    for _ in range(reloads.MOST_STUCK):
        assert 'could not be read' in process.run()[1][0]
    assert process.run()[1] == ['nothing changed: 4 earlier reloads still wait for a file']


def test_a_log_without_a_reader_is_given_up_too(process, pipe):
    os.unlink(pipe)
    with pytest.raises(reloads.Slow):
        process.reloads._in_a_thread(lambda path: os.close(os.open(path, os.O_WRONLY)), pipe + '.pipe')
    os.close(os.open(pipe + '.pipe', os.O_RDONLY | os.O_NONBLOCK))

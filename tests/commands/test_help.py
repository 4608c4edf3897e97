"""``geproxy help``: which chapter it shows, where, and what it says of one that there is not."""
from __future__ import absolute_import, division, print_function

import os
import pty
import sys
import zipfile

import gevent.os
import pytest
from processes import GEPROXY, build_wheel, folder, process, read, run, write

from geproxy import cli
from geproxy.commands import chapters, help, terminal_text


def test_without_a_chapter_it_lists_all_of_them(capsys):
    assert cli.main(['help']) == 0
    shown = capsys.readouterr()[0]
    assert 'type `python -m geproxy` instead' in shown        # for a checkout, where pip has installed nothing
    for name in chapters.NAMES:
        assert 'geproxy help %s ' % name in shown and chapters.summary(name)[:20] in shown


@pytest.mark.parametrize('words', [['first-steps'], ['first', 'steps'], ['First-Steps']])
def test_a_chapter_is_shown_by_its_name(capsys, words):
    assert cli.main(['help'] + words) == 0
    assert capsys.readouterr()[0].startswith('# First steps\n')


def test_text_is_octets_in_utf_8_with_any_locale():
    shown = run(GEPROXY + ['help', 'rules'], more_env={'LC_ALL': 'C', 'LANG': 'C'})
    assert (shown.wait(), shown.err) == (0, b'')
    assert shown.out.decode('utf-8') == terminal_text.rendered(chapters.text('rules'), 80)


@pytest.mark.parametrize('words, guess', [(['ruls'], ' (did you mean rules?)'), (['xyzzy'], ''), (['../README'], '')])
def test_an_unknown_chapter_is_an_error_that_says_which_there_are(capsys, words, guess):
    assert cli.main(['help'] + words) == 2
    shown, said = capsys.readouterr()
    assert shown == '' and said.count('\n') == 1
    assert "has no chapter '%s'%s. " % (words[0].lower(), guess) in said and ', '.join(chapters.NAMES) in said


def test_its_own_help_names_every_chapter(capsys):
    with pytest.raises(SystemExit):
        cli.main(['help', '--help'])
    shown = ''.join(capsys.readouterr()[0].split())             # argparse breaks lines at hyphens, too
    assert 'Chapters:%s.' % ','.join(chapters.NAMES) in shown


def test_a_reader_that_has_seen_enough_is_told_nothing():
    shown = run(['/bin/sh', '-c', '"$@" | true', 'sh'] + GEPROXY + ['help', 'options'])
    assert (shown.wait(), shown.out, shown.err) == (0, b'', b'')


# --- on a terminal

def on_a_terminal(words, **environment):
    """Run geproxy with a terminal as its input and output -> (exit code, what the terminal showed, octets)."""
    ours, theirs = pty.openpty()
    gevent.os.make_nonblocking(ours)
    try:
        with process(GEPROXY + words, stdin=theirs, stdout=theirs,
                     more_env=dict({'TERM': 'xterm'}, **environment)) as started:
            os.close(theirs)
            shown = b''
            while True:
                try:
                    data = gevent.os.nb_read(ours, 65536)
                except OSError:             # EIO: all that had it open are gone
                    break
                if not data:
                    break
                shown += data
            return started.wait(), shown.replace(b'\r\n', b'\n')
    finally:
        os.close(ours)


def test_on_a_terminal_the_pager_gets_the_text():
    with folder() as here:
        path = os.path.join(here, 'text')
        assert on_a_terminal(['help', 'rules'], PAGER='cat > %s; echo paged' % path) == (0, b'paged\n')
        assert read(path).startswith(b'# Rules\n')


@pytest.mark.parametrize('pager', ['/no/such/program', '', ' '])
def test_without_a_pager_the_text_is_only_printed(pager):
    code, shown = on_a_terminal(['help', 'signals'], PAGER=pager)
    assert code == 0 and b'# Signals\n' in shown and b'USR2' in shown


def test_a_reader_who_leaves_the_pager_early_is_no_error(monkeypatch):
    monkeypatch.setenv('PAGER', 'head -n 1 > /dev/null')
    assert help.paged(b'more than a pipe holds\n' * 100000)


# --- installed

@pytest.mark.programs
def test_it_works_from_a_wheel():
    for needed in ('setuptools', 'wheel'):
        pytest.importorskip(needed)
    with folder() as here:
        there = os.path.join(here, 'unpacked')
        with zipfile.ZipFile(build_wheel(here)) as wheel:
            wheel.extractall(there)
        write(os.path.join(here, 'run.py'), 'import runpy, sys\nsys.path.insert(0, %r)\nrunpy.run_module("geproxy", run_name="__main__")\n' % there)
        shown = run([sys.executable, os.path.join(here, 'run.py'), 'help', 'rules'], cwd=here)
        assert (shown.wait(), shown.out[:8]) == (0, b'# Rules\n'), shown

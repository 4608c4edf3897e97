"""The chapters of the manual: each has its file, its title and its sentence."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from geproxy.commands import chapters


@pytest.mark.parametrize('name', chapters.NAMES + (chapters.CONTENTS,))
def test_every_chapter_has_its_file(name):
    assert os.path.isfile(chapters.path(name))
    assert chapters.text(name).startswith(u'# ') and chapters.text(name).endswith(u'\n')


def test_the_summary_of_a_chapter_is_its_first_paragraph_in_one_line():
    assert chapters.summary('signals') == 'What geproxy does when it gets TERM, INT, HUP, USR1 or USR2.'


def test_an_unknown_chapter_has_no_text():
    with pytest.raises(IOError):
        chapters.text('no-such-chapter')

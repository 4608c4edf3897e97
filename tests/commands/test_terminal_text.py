"""How Markdown looks on a terminal: a table of what is written, and what is shown at which width."""
from __future__ import absolute_import, division, print_function

import re

import pytest

from geproxy.commands import chapters, terminal_text

WIDE = u'''\
| name | default | what it is |
| --- | --- | --- |
| `a` | `1` | %s |
| `b` |  | y |
''' % (u'x ' * 30)

CASES = [           # Markdown, width, what is shown
    (u'# Title\n\na\nb\n', 80, u'# Title\n\na b\n'),
    (u'one two three\n', 9, u'one two\nthree\n'),
    (u'* one two\n* three\n  four\n', 8, u'* one\n  two\n* three\n  four\n'),
    (u'1. one two\n10. x\n', 8, u'1. one\n   two\n10. x\n'),
    (u'a\n\n\n\nb\n', 80, u'a\n\nb\n'),
    (u'a\n\n<!-- mark -->\nb\n<!-- end -->\n', 80, u'a\n\nb\n'),
    (u'**Bold** and `code` and *:9000\n', 80, u'Bold and `code` and *:9000\n'),
    # Code is never wrapped, and nothing in it is a link, a list or a mark.
    (u'a\n```sh\n* one [two](three.md)\n\n<!-- x -->\n```\nb\n', 8, u'a\n    * one [two](three.md)\n\n    <!-- x -->\nb\n'),
    # A chapter is named by the command that shows it.
    (u'See [rules](rules.md).\n', 80, u'See `geproxy help rules`.\n'),
    (u'See [each\naddress](how-it-works.md#addresses).\n', 80, u'See each address (geproxy help how-it-works).\n'),
    (u'See [this](#below).\n', 80, u'See this.\n'),
    (u'See [gevent](https://www.gevent.org).\n', 80, u'See gevent (https://www.gevent.org).\n'),
    (u'See [README.md](../../README.md).\n', 80, u'See README.md (../../README.md).\n'),
    # A table whose last column fits, if it is wrapped; one without a head; an escaped bar.
    (u'| a | b |\n| --- | ---: |\n| 1 | x\\|y |\n', 80, u'a  b\n-  ---\n1  x|y\n'),
    (u'| | |\n| --- | --- |\n| 1 | x |\n', 80, u'1  x\n'),
    (u'| a | b |\n| --- | --- |\n| 1 | %s |\n' % (u'x ' * 20), 39, u'a  b\n-  %s\n1  %s\n   x x\n' % (u'-' * 36, u'x ' * 17 + u'x')),
    # One that does not fit: a block for each row.
    (WIDE, 40, u'`a`  `1`\n    %s\n    %s\n\n`b`\n    y\n' % ((u'x ' * 18).strip(), (u'x ' * 12).strip())),
    (u'| a | b | c |\n| --- | --- | --- |\n| 1 | %s | z |\n' % (u'x' * 40), 30, u'1\n    b:\n        %s\n    c: z\n' % (u'x' * 40)),
    (u'\xfc\xdf\n', 80, u'\xfc\xdf\n'),
    (u'', 80, u'\n'),
]


@pytest.mark.parametrize('markdown, width, shown', CASES)
def test_markdown_is_shown_so(markdown, width, shown):
    assert terminal_text.rendered(markdown, width) == shown


def without_code(text):
    return [line for line in text.split('\n') if not line.startswith('    ')]


@pytest.mark.parametrize('width', [60, 80, 110])
@pytest.mark.parametrize('name', chapters.NAMES)
def test_every_chapter_fits_the_terminal_and_loses_no_word(name, width):
    markdown = chapters.text(name)
    shown = terminal_text.rendered(markdown, width)
    assert [line for line in without_code(shown) if len(line) > width and ' ' in line.strip()] == []
    # The heads of some columns are left out, and a link may become a command.
    kept = re.sub(r'(?m)^.*\n(?=\| ?---)|<!--.*-->', '', re.sub(r'\[[^\]]*\]\(', '', markdown))
    lost = set(word for word in kept.split() if word.isalpha()) - set(word.strip(':;') for word in shown.split())
    assert lost == set()

"""The chapters of the manual in geproxy/manual: their order, and their text. It does not know how they are shown."""
from __future__ import absolute_import, division, print_function

import io
import os

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'manual')
CONTENTS = 'contents'           # the page that lists the chapters
# In the order in which a new reader needs them. Each name is the name of a file, without .md.
NAMES = ('first-steps', 'clients', 'options', 'rules', 'users', 'parents', 'tls', 'failures', 'log', 'watching',
         'signals', 'supervisord', 'systemd', 'machines', 'legacy', 'speed', 'how-it-works')


def path(name):
    """Return the path of the file of a chapter; `name`: native text, one of NAMES, or CONTENTS."""
    return os.path.join(FOLDER, name + '.md')


def text(name):
    """Return the Markdown text of a chapter, as Unicode; `name`: as for `path`. Raises IOError."""
    with io.open(path(name), encoding='utf-8') as opened:
        return opened.read()


def summary(name):
    """Return what a chapter is about: its first paragraph in one line, Unicode.

    `name`: as for `path`. Raises IOError.
    """
    return ' '.join(text(name).split('\n\n')[1].split())

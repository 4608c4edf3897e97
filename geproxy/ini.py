"""Ini files as lines: sections, names and values, each with its path and line number. Knows no option.

The same on every Python, and it keeps what configparser forgets: where a thing stands, and the comment beside it.
"""
from __future__ import absolute_import, division, print_function

import collections
import re

from geproxy import compat

Line = collections.namedtuple('Line', 'path number text comment')       # native text; `comment`: without its sign
# `name`: None for a section's own line; `section`: None before the first; `value`: all lines of it, joined, None for a
# line that is nothing; `lines`: the Lines it came from.
Entry = collections.namedtuple('Entry', 'section name value lines')

_find_comment = re.compile(r'(?:\A|\s)[#;]').search


def read(path, lines):
    """Lines of text from the file at `path` -> [Entry]."""
    entries, indent = [], 0             # of the last entry: a line further in goes on with its value
    for number, line in enumerate(lines, 1):
        line = compat.to_native(compat.to_octets(line)).rstrip()
        comment = ''
        found = _find_comment(line)
        if found:
            line, comment = line[:found.start()].rstrip(), line[found.end():].strip()
        if not line:
            continue
        text = line.strip()
        last = entries[-1] if entries else None
        inside = len(line) - len(line.lstrip())
        if inside > indent and last and last.name is not None and last.value is not None:
            entries[-1] = last._replace(value=(last.value + ' ' + text).strip(),
                                        lines=last.lines + (Line(path, number, text, comment),))
        else:
            indent = inside
            entries.append(_begin(last, Line(path, number, text, comment)))
    return entries


def _begin(last, line):
    """The Entry that `line` begins behind the Entry `last`."""
    if line.text[:1] == '[' and line.text[-1:] == ']':
        return Entry(line.text[1:-1].strip(), None, '', (line,))
    name, equals, value = line.text.partition('=')
    value = value.strip()
    return Entry(last and last.section, name.strip(), value if equals else None, (line._replace(text=value),))

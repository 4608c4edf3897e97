"""Markdown of the manual as text for a terminal: wrapped to its width, tables aligned. It does no I/O.

It knows the Markdown that the manual uses, and no more: headings, paragraphs, lists, fenced code, tables, links.
"""
from __future__ import absolute_import, division, print_function

import re
import textwrap

from geproxy.commands import chapters

FENCE = '```'
GAP = '  '                      # between two columns of a table
INDENT = '    '                 # of code, and of a row that does not fit into one line
NARROW = 36                     # columns: a cell up to this width stays in the first line of such a row
_ITEM = re.compile(r'( *)(\* |[0-9]+\. )')
_LINK = re.compile(r'\[([^\]]*)\]\(([^)]*)\)')
_BOLD = re.compile(r'\*\*([^*]+)\*\*')


def rendered(markdown, width):
    """Return a text as a terminal shows it.

    `markdown`: Unicode, a whole chapter; `width`: columns of the terminal. The answer is Unicode, with a newline at its
    end.
    """
    lines = []
    rest = markdown.split('\n')
    while rest:
        if rest[0].startswith(FENCE):
            end = rest.index(FENCE, 1)
            lines += [(INDENT + line).rstrip() for line in rest[1:end]]
            rest = rest[end + 1:]
        elif rest[0].startswith('|'):
            count = _count(rest, lambda line: line.startswith('|'))
            lines += _table(rest[:count], width)
            rest = rest[count:]
        elif rest[0].startswith('<!--') or not rest[0].strip() and lines[-1:] in ([], ['']):
            rest = rest[1:]                     # marks are for programs; of several empty lines one is enough
        elif not rest[0].strip() or rest[0].startswith('#'):
            lines.append(_inline(rest[0]))
            rest = rest[1:]
        else:
            count = 1 + _count(rest[1:], _continues)
            lines += _paragraph(rest[:count], width)
            rest = rest[count:]
    return '\n'.join(lines).rstrip() + '\n'


def _count(lines, condition):
    """Return how many of the first lines fulfil a condition."""
    return next((number for number, line in enumerate(lines) if not condition(line)), len(lines))


def _continues(line):
    return bool(line.strip()) and not line.startswith(('|', '#', '<!--', FENCE)) and not _ITEM.match(line)


def _paragraph(lines, width):
    """Return a paragraph or an item of a list, wrapped."""
    item = _ITEM.match(lines[0])
    first = item.group() if item else lines[0][:len(lines[0]) - len(lines[0].lstrip())]
    text = _inline(' '.join([lines[0][len(first):].strip()] + [line.strip() for line in lines[1:]]))
    return _wrapped(text, width, first, ' ' * len(first))


def _wrapped(text, width, first='', later=''):
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=later,
                         break_long_words=False, break_on_hyphens=False)


def _inline(text):
    return _BOLD.sub(r'\1', _LINK.sub(_link, text))


def _link(match):
    """Return a link as words: a link to a chapter becomes the command that shows it."""
    words, target = match.groups()
    name = target.partition('#')[0].rpartition('/')[2]
    if not name:
        return words                            # within this chapter
    if name.endswith('.md') and name[:-len('.md')] in chapters.NAMES:
        command = 'geproxy help ' + name[:-len('.md')]
        return '`%s`' % command if words + '.md' == name else '%s (%s)' % (words, command)
    return words if words == target else '%s (%s)' % (words, target)


def _table(lines, width):
    """Return a Markdown table: in columns if these fit, else with the long cells of a row below its short ones."""
    rows = [[_inline(cell.strip().replace('\\|', '|')) for cell in re.split(r'(?<!\\)\|', line.strip()[1:-1])]
            for line in lines[:1] + lines[2:]]          # without the rule below the head
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    room = width - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)
    if room >= min(widths[-1], NARROW):
        return _in_columns(rows, widths, room)
    return _in_blocks(rows, widths, width)


def _in_columns(rows, widths, room):
    """Return the rows of a table in columns; the last column is wrapped to `room`."""
    if any(rows[0]):
        rows = rows[:1] + [['-' * min(width, room) for width in widths]] + rows[1:]
    else:
        rows = rows[1:]                         # a table without a head
    lines = []
    for row in rows:
        first = ''.join(cell.ljust(width) + GAP for cell, width in zip(row, widths[:-1]))
        lines += [(first if not number else ' ' * len(first)) + part if part else first
                  for number, part in enumerate(_wrapped(row[-1], room) or [''])]
    return [line.rstrip() for line in lines]


def _in_blocks(rows, widths, width):
    """Return the rows of a table, each as a block of lines, with an empty line between two."""
    short = max(1, _count(widths[:-1], lambda each: each <= NARROW))
    labels = [label + ': ' if label and len(widths) - short > 1 else '' for label in rows[0]]
    lines = []
    for row in rows[1:]:
        lines += _wrapped(GAP.join(cell for cell in row[:short] if cell), width)
        together = []                           # cells of narrow columns that share a line
        for label, cell, each in list(zip(labels, row, widths))[short:]:
            if not cell:
                continue
            if each > NARROW:
                lines += _wrapped('; '.join(together), width, INDENT, INDENT * 2)
                lines += _wrapped(label + cell, width, INDENT, INDENT * 2 if label else INDENT)
                together = []
            else:
                together.append(label + cell)
        lines += _wrapped('; '.join(together), width, INDENT, INDENT * 2) + ['']
    return lines[:-1]

"""What the tables in the code say, for people: the example ini file and the tables of the README.

``python -m geproxy.commands.docs README.md`` puts the tables of today between the marks there.
"""
from __future__ import absolute_import, division, print_function

import io
import re
import sys
import textwrap

from geproxy import errors
from geproxy.observe import formats
from geproxy.settings import schema
from geproxy.settings.rule_options import RULE_OPTIONS


def example():
    """The commented ini file with all defaults, as native text: conf/proxy.ini."""
    lines = ['# geproxy: all options with their defaults. Check your changes with: python -m geproxy --check FILE',
             '# Comments begin with # or ;. A value may go on in the next line, if that is indented.']
    for section, sentence in schema.SECTIONS.items():
        lines += ['', '[%s]' % section, '# ' + sentence]
        for option in schema.SCHEMA:
            if option.section == section:
                restart = '' if option.reloadable else ' (A change needs a restart.)'
                lines += [''] + textwrap.wrap(option.sentence + restart, 100, initial_indent='# ',
                                              subsequent_indent='# ', break_on_hyphens=False)
                lines.append(('%s = %s' % (option.name, option.default)).rstrip())
    return '\n'.join(lines) + '\n'


def options():
    """The options, as a Markdown table."""
    rows = []
    for option in schema.SCHEMA:
        restart = '' if option.reloadable else ' *(restart)*'
        rows.append(('`[%s]`' % option.section, '`%s`' % option.name,
                     '`%s`' % option.default if option.default else '', option.sentence + restart))
    return _table(('section', 'option', 'default', 'what it is'), rows)


def reasons():
    """The ways an exchange can fail, as a Markdown table."""
    classes = [value for value in vars(errors).values()
               if isinstance(value, type) and issubclass(value, errors.ProxyError) and value is not errors.ProxyError]
    rows = [('`%s`' % each.token, '%d' % each.status, each.__doc__.split('\n')[0], each.hint) for each in classes]
    return _table(('reason', 'status', 'what happened', 'what to do'), sorted(rows, key=lambda row: (row[1], row)))


def fields():
    """The fields of the json log, as a Markdown table."""
    return _table(('field', 'what it is'), [('`%s`' % field.name, field.sentence) for field in formats.FIELDS])


def rule_options():
    """Return the options that a rule may have, as a Markdown table."""
    return _table(('option', 'example', 'what it does'), [
        ('`%s`' % option.syntax, '`%s`' % option.example, option.sentence) for option in RULE_OPTIONS])


def _table(head, rows):
    lines = [head, ['---'] * len(head)] + rows
    return ''.join('| %s |\n' % ' | '.join(cell.replace('|', '\\|') for cell in line) for line in lines)


def refreshed(text):
    """A document with the tables of today between its marks: ``<!-- options -->`` to ``<!-- end -->``, and so on."""
    for name, table in (('options', options), ('rule options', rule_options), ('reasons', reasons), ('fields', fields)):
        pattern = re.compile('(<!-- %s -->\\n).*?(<!-- end -->)' % name, re.S)
        text = pattern.sub(lambda match: match.group(1) + table() + match.group(2), text)
    return text


def main(paths):
    """Refresh the documents at `paths`."""
    for path in paths:
        with io.open(path, encoding='utf-8') as opened:
            text = opened.read()
        with io.open(path, 'w', encoding='utf-8') as opened:
            opened.write(refreshed(text))


if __name__ == '__main__':
    main(sys.argv[1:])

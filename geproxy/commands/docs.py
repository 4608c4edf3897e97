"""What the tables in the code say, for people: the example ini file, and the tables of README.md and of the manual.

``python -m geproxy.commands.docs`` writes the tables of today into README.md and the manual of this checkout;
``python -m geproxy.commands.docs FILE...`` into other files.
"""
from __future__ import absolute_import, division, print_function

import ast
import io
import os
import re
import sys
import textwrap

from geproxy import errors
from geproxy.commands import chapters
from geproxy.observe import formats
from geproxy.settings import loading, schema
from geproxy.settings.rule_options import RULE_OPTIONS


def example():
    """Return the commented ini file with all defaults, native text: conf/proxy.ini."""
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
    """Return the options as a Markdown table."""
    rows = []
    for option in schema.SCHEMA:
        restart = '' if option.reloadable else ' *(restart)*'
        rows.append(('`[%s]`' % option.section, '`%s`' % option.name,
                     '`%s`' % option.default if option.default else '', option.sentence + restart))
    return _table(('section', 'option', 'default', 'what it is'), rows)


def reasons():
    """Return the reasons why an exchange can fail as a Markdown table."""
    classes = [value for value in vars(errors).values()
               if isinstance(value, type) and issubclass(value, errors.ProxyError) and value is not errors.ProxyError]
    rows = [('`%s`' % each.token, '%d' % each.status, each.__doc__.split('\n')[0], each.hint) for each in classes]
    return _table(('reason', 'status', 'what happened', 'what to do'), sorted(rows, key=lambda row: (row[1], row)))


def fields():
    """Return the fields of the json log as a Markdown table."""
    return _table(('field', 'what it is'), [('`%s`' % field.name, field.sentence) for field in formats.FIELDS])


def rule_options():
    """Return the options that a rule may have as a Markdown table."""
    return _table(('option', 'example', 'what it does'), [
        ('`%s`' % option.syntax, '`%s`' % option.example, option.sentence) for option in RULE_OPTIONS])


def manual(folder=''):
    """Return the list of chapters in Markdown, native text; `folder`: what comes before the names of the files."""
    return ''.join('* [%s](%s%s.md): %s\n' % (name, folder, name, str(chapters.summary(name)))
                   for name in chapters.NAMES)


def mistakes():
    """Return what --check says of two mistakes in the example file, as a block of Markdown."""
    text = example()
    for right, wrong in (('clients = loopback private', 'client = any'), ('connect = 10', 'connect = ten')):
        text = text.replace('\n%s\n' % right, '\n%s\n' % wrong)
    try:
        loading.load('conf/proxy.ini', text.splitlines())
    except loading.ConfigError as error:
        return '```console\n$ python -m geproxy --check conf/proxy.ini\n%s\n```\n' % error
    raise AssertionError('no mistakes were found')


def wings():
    """Return the wings of the package and their modules as a Markdown table; what a wing is for, it says itself."""
    package = os.path.dirname(chapters.FOLDER)
    found = [name for name in os.listdir(package) if os.path.exists(os.path.join(package, name, '__init__.py'))]
    top = 'The entry, the command line, and small modules that every wing may use.'
    rows = [('(top level)', top, _modules(package))]
    for wing in sorted(found, key=lambda name: (WINGS.index(name) if name in WINGS else len(WINGS), name)):
        folder = os.path.join(package, wing)
        with io.open(os.path.join(folder, '__init__.py'), 'rb') as opened:
            purpose = ast.get_docstring(ast.parse(opened.read())).split('\n')[0]
        rows.append(('`%s/`' % wing, str(purpose), _modules(folder)))
    return _table(('wing, top down', 'what it is for', 'modules'), rows)


def _modules(folder):
    return ', '.join('`%s`' % name[:-len('.py')] for name in sorted(os.listdir(folder))
                     if name.endswith('.py') and name != '__init__.py')


def _table(head, rows):
    lines = [head, ['---'] * len(head)] + rows
    return ''.join('| %s |\n' % ' | '.join(cell.replace('|', '\\|') for cell in line) for line in lines)


# The order of the wings in the manual. A wing that is missing here comes last.
WINGS = ('commands', 'service', 'admin', 'settings', 'exchange', 'pages', 'observe', 'upstream', 'limits', 'auth',
         'policy', 'http1', 'net')
# What is generated: (its mark in a document, the function that returns its text).
GENERATED = (
    ('options', options),
    ('rule options', rule_options),
    ('reasons', reasons),
    ('fields', fields),
    ('mistakes', mistakes),
    ('wings', wings),
    ('chapters', lambda: manual('geproxy/manual/')),        # as README.md links them
    ('contents', manual),
)


def refreshed(text):
    """Return a document with the generated texts of today between its marks: <!-- options --> to <!-- end -->, and so
    on for each mark in GENERATED. `text`: Unicode, or native text."""
    for mark, generate in GENERATED:
        pattern = re.compile('(<!-- %s -->\\n).*?(<!-- end -->)' % mark, re.S)
        text = pattern.sub(lambda match: match.group(1) + generate() + match.group(2), text)
    return text


def documents():
    """Return the paths of README.md and of all files of the manual, in the checkout that this module is in."""
    top = os.path.dirname(os.path.dirname(chapters.FOLDER))
    return [os.path.join(top, 'README.md')] + [chapters.path(name) for name in (chapters.CONTENTS,) + chapters.NAMES]


def main(paths):
    """Refresh documents; `paths`: of them, or an empty list for those of `documents`."""
    for path in paths or documents():
        with io.open(path, encoding='utf-8') as opened:
            text = opened.read()
        with io.open(path, 'w', encoding='utf-8') as opened:
            opened.write(refreshed(text))


if __name__ == '__main__':
    main(sys.argv[1:])

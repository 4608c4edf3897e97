"""Compares two Settings: lists the changes, and keeps the options that a reload may not change. Reads no file."""
from __future__ import absolute_import, division, print_function

from geproxy.settings import parents_file
from geproxy.settings.option_types import automatic_pseudonym
from geproxy.settings.schema import READ_ENTRIES, SCHEMA

SHOWN_CHANGES = 50      # rules that have come or gone; of more, only the number is shown


def changes(old, new):
    """Return the differences between two Settings, `old` and `new`, as a list of lines for people."""
    lines = []
    for option in SCHEMA:
        before, after = (settings.texts[option.section, option.name] for settings in (old, new))
        name = '[%s] %s' % (option.section, option.name)
        if option.read in READ_ENTRIES:
            lines.extend('%s: %s' % (name, line) for line in _changed_lines(before, after))
        elif before != after:
            restart = '' if option.reloadable else ' (needs a restart)'
            lines.append('%s: %s -> %s%s' % (
                name, ' '.join(before) or 'nothing', ' '.join(after) or 'nothing', restart))
        if (option.section, option.name) == ('upstream', 'parents'):
            lines.extend('%s: %s' % (name, line) for line in _changed_parents(old.routes, new.routes))
    return lines


def without_restart(running, settings):
    """Return the Settings that hold after a reload.

    `running`: the Settings until now; `settings`: those of the file. Options that need a restart stay as in `running`.
    """
    automatic = settings.proxy.name == automatic_pseudonym(settings.proxy.listen)
    texts = dict(settings.texts)
    for option in SCHEMA:
        if not option.reloadable:
            texts[option.section, option.name] = running.texts[option.section, option.name]
            section = getattr(settings, option.section)._replace(
                **{option.name: getattr(getattr(running, option.section), option.name)})
            settings = settings._replace(**{option.section: section})
    if automatic:
        settings = settings._replace(proxy=settings.proxy._replace(name=automatic_pseudonym(settings.proxy.listen)))
    return settings._replace(texts=texts)


def _changed_parents(old, new):
    """Return what has changed of parents that are in both of two routes.Routes or None, as a list of lines."""
    before = dict((parent[:3], parent) for parent in (old.parents if old else ()))
    return ['%s: %s' % (shown, what) for parent, shown in (new.parents.items() if new else ())
            for what in parents_file.differences(before.get(parent[:3], parent), parent)]


def _changed_lines(before, after):
    """Return the lines that were added (+) and removed (-), as a list. If only their order differs, say so."""
    old, new = set(before), set(after)
    lines = ['-' + text for text in before if text not in new] + ['+' + text for text in after if text not in old]
    if len(lines) > SHOWN_CHANGES:
        lines[SHOWN_CHANGES:] = ['and %d more' % (len(lines) - SHOWN_CHANGES)]
    if [text for text in before if text in new] != [text for text in after if text in old]:
        lines.append('in another order')
    return lines

"""What came out, as a table and as JSON. Measures nothing."""
from __future__ import absolute_import, division, print_function

import json
import time

import measure
import scenes

# What geproxy is to be ahead of. Traffic Server is in a class of its own, and has a column of its own.
NAMED = ('squid', 'tinyproxy', 'privoxy', 'apache')
SCENES = dict((scene.name, scene) for scene in scenes.SCENES)


def show_outcome(scene, outcome):
    """The figures of one round, or what went wrong, as one line."""
    if not isinstance(outcome, dict):
        return '- ' + outcome
    return '  '.join('%s %s %s' % (name, measure.show(outcome[name]), unit) for name, unit, _ in scene.figures)


def document(results, found, missing, options, machine):
    """All there is to tell, as what JSON can say."""
    rows = []
    for name in options.scenes:
        scene = SCENES[name]
        for figure, unit, sentence in scene.figures:
            costs = dict((peer.name, _summary(results[name, peer.name], figure)) for peer in found)
            rows.append({'scene': name, 'sentence': scene.sentence, 'figure': figure, 'unit': unit, 'means': sentence,
                         'peers': costs, 'ratios': ratios(costs, [peer.name for peer in found if peer.forward])})
    return {'date': time.strftime('%Y-%m-%d'), 'machine': machine, 'rounds': options.rounds,
            'seconds': options.seconds, 'versions': dict((peer.name, peer.version) for peer in found),
            'order': [peer.name for peer in found], 'missing': missing, 'rows': rows}


def _summary(outcomes, figure):
    """{'median', 'spread', 'rounds'} or {'reason'}"""
    values = [outcome[figure] for outcome in outcomes if isinstance(outcome, dict)]
    if not values:
        return {'reason': outcomes[0]}
    return {'median': measure.median(values), 'spread': measure.spread(values), 'rounds': values}


def ratios(costs, forward):
    """geproxy to others, as {name: ratio}; 'best': to the best of the `NAMED`, and 'who' that is.

    `costs`: {name: summary}; `forward`: names of the forward proxies.
    """
    medians = dict((name, cost['median']) for name, cost in costs.items() if cost.get('median', 0) > 0)
    ours = medians.pop('geproxy', None)
    if ours is None:
        return {}
    found = dict((name, ours / median) for name, median in medians.items())
    best = min([name for name in medians if name in NAMED and name in forward] or [None], key=medians.get)
    if best:
        found['best'], found['who'] = found[best], best
    return found


def write_json(what, path):
    """The whole document, to a file."""
    with open(path, 'w') as opened:
        json.dump(what, opened, indent=1, sort_keys=True)
        opened.write('\n')


# --- the table -------------------------------------------------------------------------------------------------------

LEFT_OUT = ('system', 'done', 'rate', 'through p50', 'through p99')     # of the table; JSON has them


def text(what):
    """The document for people: a table in Markdown, which reads as plain text, too."""
    names = what['order']
    to = [name for name in names if name in ('trafficserver', 'nginx') or name.startswith('geproxy')][1:]
    head = ['scene', 'unit'] + names + ['to the best of four'] + ['to ' + name for name in to]
    lines = [head, ['---'] * 2 + ['---:'] * (len(head) - 2)]
    lines += [_line(row, names, to, what['rounds']) for row in what['rows'] if row['figure'] not in LEFT_OUT]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    shown = ['| %s |' % ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) for line in lines]
    shown += ['', 'Medians of %d rounds, and half the distance of the extremes; %s, %s. To ...: what geproxy costs, divided '
              'by what they do; the four are %s.' % (what['rounds'], what['date'], what['machine'], ', '.join(NAMED)), '']
    shown += ['* %s: %s' % (name, what['versions'][name]) for name in names]
    shown += ['* not installed here: ' + ', '.join(what['missing'])] * bool(what['missing'])
    return '\n'.join(shown + _reasons(what))


def _line(row, names, to, rounds):
    cells = [row['sentence'] + (', ' + row['figure'] if row['unit'] == 'us' and row['figure'] != 'cpu' else ''), row['unit']]
    for name in names:
        cost = row['peers'][name]
        text = measure.show(cost.get('median'))
        cells.append(text + (' +-%.0f%%' % (cost['spread'] * 100) if rounds > 1 and 'spread' in cost else ''))
    found = row['ratios']
    cells.append('%.2f (%s)' % (found['best'], found['who']) if 'best' in found else '-')
    return cells + ['%.2f' % found[name] if name in found else '-' for name in to]


def _reasons(what):
    """Why some figures are missing."""
    said = set()
    for row in what['rows']:
        for name in what['order']:
            reason = row['peers'][name].get('reason')
            if reason and reason != scenes.NO_CONNECT:
                said.add('* %s cannot do %s: %s' % (name, row['scene'], reason))
    return sorted(said)

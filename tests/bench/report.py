"""Show the results as a table and as JSON. Measures nothing."""
from __future__ import absolute_import, division, print_function

import json
import time

import measure
import scenes

# The proxies that geproxy should beat. Traffic Server is not among them; it has a column of its own.
NAMED = ('squid', 'tinyproxy', 'privoxy', 'apache')


def show_outcome(outcome):
    """Return the figures of one round, or the reason why there are none, as one line."""
    if not isinstance(outcome, dict):
        return '- ' + outcome
    return '  '.join('%s %s' % (name, measure.show(value)) for name, value in sorted(outcome.items()))


def circumstances(found, missing, options, machine):
    """Return what readers of the figures must know: date, machine, versions ..., as a dictionary."""
    return {'date': time.strftime('%Y-%m-%d'), 'machine': machine, 'rounds': options.rounds,
            'seconds': options.seconds, 'versions': dict((peer.name, peer.version) for peer in found),
            'order': [peer.name for peer in found], 'missing': missing}


def rows(chosen, results, found):
    """Return a row for each figure of each scene. `results`: {(scene, peer): [outcome of a round]}."""
    made = []
    for scene in chosen:
        for figure, unit in scene.figures:
            costs = dict((peer.name, _summary(results[scene.name, peer.name], figure)) for peer in found)
            made.append({'scene': scene.name, 'sentence': scene.sentence, 'way': scene.way, 'figure': figure, 'unit': unit,
                         'peers': costs, 'ratios': ratios(costs, [peer.name for peer in found if peer.forward])})
    return made


def points(chosen, results, found):
    """Return a row for each figure of each curve and peer. `results`: {(curve, peer, point): [outcome of a round]}."""
    return [{'curve': curve.name, 'sentence': curve.sentence, 'figure': figure, 'unit': unit, 'peer': peer.name,
             'points': [dict(_summary(results[curve.name, peer.name, point], figure), at=point) for point in curve.points]}
            for curve in chosen for figure, unit in curve.figures for peer in found
            if (curve.name, peer.name, curve.points[0]) in results]


def _summary(outcomes, figure):
    """Return a dictionary with median, spread and rounds; or only a reason, if no round has the figure."""
    values = [outcome[figure] for outcome in outcomes if isinstance(outcome, dict)]
    if not values:
        return {'reason': outcomes[0]}
    return {'median': measure.median(values), 'spread': measure.spread(values), 'rounds': values}


def ratios(costs, forward):
    """Return the cost of geproxy divided by that of the others: {name: ratio}. 'best' is the ratio to the cheapest of
    `NAMED`, and 'who' is its name.

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
    """Write a document to a file."""
    with open(path, 'w') as opened:
        json.dump(what, opened, indent=1, sort_keys=True)
        opened.write('\n')


# --- the table -------------------------------------------------------------------------------------------------------

LEFT_OUT = ('system', 'done', 'rate', 'through p50', 'through p99')     # figures that only JSON has, and not the table


def text(what):
    """Return a document as text: tables in Markdown that are also readable as plain text."""
    shown = _compared(what) if 'rows' in what else _grown(what)
    shown += ['', 'Medians of %d rounds; +-: half the distance between the smallest and the largest. %s, %s.' % (
        what['rounds'], what['date'], what['machine']), '']
    shown += ['* %s: %s' % (name, what['versions'][name]) for name in what['order']]
    shown += ['* not installed here: ' + ', '.join(what['missing'])] * bool(what['missing'])
    return '\n'.join(shown + _reasons(what))


def _compared(what):
    shown = []
    for way, sentence in scenes.WAYS.items():
        rows = [row for row in what['rows'] if row['way'] == way and row['figure'] not in LEFT_OUT]
        if rows:
            shown += [''] * bool(shown) + ['%s:' % sentence, ''] + _table(rows, what)
    return shown + ['', '"to X": cost of geproxy divided by cost of X (below 1: geproxy is cheaper). The four: %s.' % ', '.join(NAMED)]


def _table(rows, what):
    """Return the lines of a table. A proxy that can do none of its scenes has no column."""
    names = [name for name in what['order'] if any(row['peers'][name].get('reason') != scenes.UNABLE for row in rows)]
    to = [name for name in names if name not in NAMED][1:]
    head = ['scene', 'unit'] + names + ['to the best of four'] + ['to ' + name for name in to]
    lines = [head, ['---'] * 2 + ['---:'] * (len(head) - 2)]
    return _aligned(lines + [_line(row, names, to, what['rounds']) for row in rows])


def _grown(what):
    """Return each curve as a line of points, with the ratio of each point to the first."""
    lines = [['curve', 'unit', 'proxy', 'amount: cost (divided by the first)'], ['---'] * 4]
    for row in what['curves']:
        first = next((point['median'] for point in row['points'] if 'median' in point), 0)
        cells = ['%d: %s' % (point['at'], measure.show(point.get('median'))) + (
            ' (%.2f)' % (point['median'] / first) if first and 'median' in point else '') for point in row['points']]
        lines.append([row['sentence'] + ('' if row['figure'] == 'cpu' else ', ' + row['figure']), row['unit'], row['peer'],
                      ', '.join(cells)])
    return _aligned(lines)


def _aligned(lines):
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return ['| %s |' % ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) for line in lines]


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
    """Return lines that say why figures are missing."""
    said = set()
    for row in what.get('rows', ()):
        said.update((name, row['scene'], cost.get('reason')) for name, cost in row['peers'].items())
    for row in what.get('curves', ()):
        said.update((row['peer'], '%s %d' % (row['curve'], point['at']), point.get('reason')) for point in row['points'])
    return ['* %s has no figure for %s: %s' % reason for reason in sorted(said, key=str)
            if reason[2] not in (None, scenes.UNABLE)]

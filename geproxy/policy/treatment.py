"""The treatment of an allowed request: its edits and its speed. Pure.

To add a kind of treatment (faults, a route), add a field here, and use it in one place.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy.http1.message import NO_EDITS

# `edits`: message.Edits of the request; `up_pace`, `down_pace`: a rates.Pace for the octets from and to the client, or
# None where nothing limits them.
Treatment = collections.namedtuple('Treatment', 'edits up_pace down_pace')
PLAIN = Treatment(NO_EDITS, None, None)     # the usual one: nothing is edited, nothing is slowed down

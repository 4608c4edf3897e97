"""Treatment: what the decision about a request asks for, once the request is allowed. Pure.

A later kind of treatment (faults, a route) is one more field here, and the one place that does it.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy.http1.message import NO_EDITS

# `edits`: message.Edits of the request; `up_pace`, `down_pace`: a rates.Pace for the octets from and to the client, or
# None where nothing limits them.
Treatment = collections.namedtuple('Treatment', 'edits up_pace down_pace')
PLAIN = Treatment(NO_EDITS, None, None)     # the usual one: nothing is edited, nothing is slowed down

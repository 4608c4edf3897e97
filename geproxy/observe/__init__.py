"""Records of exchanges, and their observers: the log, the metrics, subscribers. Never slows the other wings down.

May import: the ground (compat, errors, memo, wording), net.supervise, http1.grammar.
Start reading at: `record` is what is remembered of one exchange; `observers` tells the others.
"""

"""Records of exchanges, and their observers: the log, the metrics, subscribers. Never slows the other wings down.

May import: http1.grammar, net.supervise and what lies below.
Start reading at: `record` is the record of one exchange; `observers` passes it to the observers.
"""

"""What is remembered of each exchange, and who is told: the log, the metrics, subscribers. Never slows the rest down.

May import: the ground (compat, errors, memo, wording), net.supervise, http1.grammar.
Start reading at: `record` is what is remembered of one exchange; `observers` tells the others.
"""

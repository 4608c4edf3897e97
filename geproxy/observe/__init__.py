"""What is remembered of each exchange, and who is told: the log, the metrics, subscribers. Never slows the rest down.

May import: http1.grammar, net.supervise and what lies below.
Start reading at: `record` is what is remembered of one exchange; `observers` tells the others.
"""

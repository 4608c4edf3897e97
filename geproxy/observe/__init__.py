"""What is remembered of an exchange, and told: log, counters, subscribers. Never slows the rest down.

May import: http1.grammar and what lies below.
Start reading at: `record` is what is remembered of one exchange.
"""

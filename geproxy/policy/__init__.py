"""Decides which clients may go where, and how an allowed request is treated. Pure: no I/O, no clock, no log.

May import: http1, net.address and what lies below.
Start reading at: `access` makes the decisions, `ruleset` finds the rule that decides, `treatment` is its result.
"""

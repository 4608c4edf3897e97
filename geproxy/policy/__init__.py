"""Decisions: who may go where. Pure: no I/O, no clock, no log.

May import: http1.grammar, net.address and what lies below.
Start reading at: `access` puts the questions; `ruleset` finds the rule that decides.
"""

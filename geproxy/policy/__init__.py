"""Decides which clients may go where, and how an allowed request is treated. Pure: no I/O, no clock, no log.

May import: the ground (compat, errors, memo, wording), net.address, http1.
Start reading at: `access` asks the questions, `ruleset` finds the rule that decides, `treatment` is what it asks for.
"""

"""The commands of the command line, one module each. Imported by `cli` alone.

May import: the ground (compat, errors, memo, wording), net, http1, policy, upstream, observe, settings, admin, service.
Start reading at: the command that you want to change.
"""

"""The ini file: read, checked, and turned into one Settings, which never changes.

May import: the ground (compat, errors, memo, wording), net, http1, policy, auth, observe.sinks.
Start reading at: `schema` and `rule_options` are the tables of options; `loading` reads a file.
"""

"""The ini file: read, checked, and turned into one Settings, which never changes.

May import: policy, auth, observe.sinks, http1, net and what lies below.
Start reading at: `schema` and `rule_options` are the tables of options; `loading` reads a file.
"""

"""The ini file: read, checked, and made into one immutable Settings.

May import: policy, auth, observe.sinks, net and what lies below.
Start reading at: `schema` is the table of all options; `loading` reads a file.
"""

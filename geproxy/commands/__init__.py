"""The commands of the command line, one module each. Imported by `cli` alone.

May import: everything below.
Start reading at: the command that you want to change.
"""

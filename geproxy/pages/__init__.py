"""The pages of this proxy: its answers to a browser that asks it like a web site. Decides nothing.

May import: the ground (compat, errors, memo, wording), http1.
Start reading at: `table` finds and writes a page; `proxy_port` has the pages of the port that clients use.
"""

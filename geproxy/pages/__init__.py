"""Pages of our own: what the proxy answers when somebody asks it as if it were a web site. Decides nothing.

May import: the ground (compat, errors, memo, wording), http1.
Start reading at: `table` finds and writes a page; `proxy_port` has the pages of the port that clients use.
"""

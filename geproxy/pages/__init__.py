"""The pages of the proxy itself, for clients that use it as if it were a web site. Decides nothing.

May import: http1 and what lies below.
Start reading at: `table` finds and writes a page; `proxy_port` has the pages of the port that clients use.
"""

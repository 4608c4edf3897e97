"""Who is asking: users, groups, passwords. Where they may go is decided in `policy`.

May import: http1, net and what lies below.
Start reading at: `logins` checks one log-in; `users` is what the files say.
"""

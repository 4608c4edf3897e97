"""Log-ins: users, groups, passwords. `policy` decides where a user may go.

May import: http1, net and what lies below.
Start reading at: `logins` checks one log-in; `users` is what the files say.
"""

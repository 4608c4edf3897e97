"""Log-ins: users, groups, passwords. `policy` decides where a user may go.

May import: the ground (compat, errors, memo, wording), net, http1.
Start reading at: `logins` checks one log-in; `users` is what the files say.
"""

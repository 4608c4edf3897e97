"""Who is asking: users, groups, passwords. Where they may go is decided in `policy`.

May import: the ground (compat, errors, memo, wording), net, http1.
Start reading at: `logins` checks one log-in; `users` is what the files say.
"""

"""Password hashes: vectors from other programs, and what is refused, without a word of the hash."""
from __future__ import absolute_import, division, print_function

import hmac

import pytest

from geproxy.auth import hashes

WORDS = b'p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac'
LONG = b'0123456789' * 12


# From `openssl passwd`, `htpasswd`, and libxcrypt for empty passwords of sha-crypt, which openssl cannot do.
@pytest.mark.parametrize('password, text', [
    (b'', b'{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk='),
    (b'secret', b'{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='),
    (WORDS, b'{SHA}WLrsXwWKD/4HtaIdI5GNgo9kV0k='),
    (b'', b'$apr1$12345678$sHuPAw7VA9xjRbJz7zKV7/'),
    (b'secret', b'$apr1$a$PtM1vJaZieHDFk40mKMu6/'),
    (WORDS, b'$apr1$./AZaz09$4qAUxvVhz1zLRJE/IGG9T/'),
    (LONG, b'$apr1$12345678$u1J8jabXCbcYESba6TPzp.'),
    (b'x' * 16, b'$apr1$12345678$8Y1fyTBfqhQchI9nKtqAQ0'),
    (b'secret', b'$1$saltsalt$9xy1btjgzLYfb7hivXtC//'),
    (WORDS, b'$1$s$IwiOpsXx4xKS1VYjLOESG1'),
    (LONG, b'$1$s$EmmUXeECXkXfQDVT1NbUC1'),
    (b'', b'$5$saltstring$FdNfA4gXqvCeO6iZs7G/.wwwoywYZqo0l1pwmfWaBA7'),
    (b'secret', b'$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.'),
    (WORDS, b'$5$s$1lCwzXwgYJ6knDE0Kv63mVBZkI8NrGGLUA/zK5mpIXB'),
    (LONG, b'$5$0123456789abcdef$yLhCHmmdRLQTVku/xQeVKTpATQdOdbDVd60XDVoGqXB'),
    (b'x' * 32, b'$5$rounds=1043$q$1ldgPUvTaxao3sifkolq92KdFF3SLNR2AIGiYt.N8w5'),
    (b'x' * 33, b'$5$rounds=1000$q$esGS/lx6bkgqZKzAvoyf5OIKChCsm6XRmwAt3CiiVGD'),
    (b'', b'$6$rounds=1000$abc$noBronbzNMcAtG61/dMHzc1H.fuLjHArF9.wCx8LbkVDMMEuChQCPee28tiPcXHL/CMNpCqo6OPTyoEpoCMsY/'),
    (b'', b'$6$$/chiBau24cE26QQVW3IfIe68Xu5.JQ4E8Ie7lcRLwqxO5cxGuBhqF2HmTL.zWJ9zjChg3yJYFXeGBQ2y3Ba1d1'),
    (b'secret', b'$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz.'),
    (WORDS, b'$6$s$IfdZbb7n/sb/3EVfNCK/yZwSlYgTDSY05/fmW//5Ze2ktoOmbzeRyFNyypwTz0yPnZzQgrJP5mOCPQlhsvBsI/'),
    (LONG, b'$6$0123456789abcdef$ARtoNmrEIGa2MYPScJQw.5T4HJGxA900i0BiFw/qCqBur/LmmNHE0YDUfzYUUXiWVHnX5f56I.COffJo9SgWb.'),
    (b'x' * 64, b'$6$rounds=1043$q$t7LC9EMb3WCwK1.TuxM8A9VvJCu4OMgjzLr4P3NvIQbRS7JbcuW9IPw0ArLARC.LEFFReUFfoB17hTswhJ/iY0'),
    (b'x' * 65, b'$6$rounds=10000$q$naXORn0UeAtMxDkey1UrjklE0/Ju3AzZN3ZGII21NlGZCbul7urBR6K42SNXoVwFBJn.0jL3j9wDD1qg307J90'),
])
def test_a_hash_made_elsewhere_knows_its_password_and_no_other(password, text):
    secret = hashes.parse(text)
    assert hashes.verify(secret, password) is True
    for other in (password + b'x', password[:-1] or b'y', password.upper() + b'.'):
        assert hashes.verify(secret, other) is False


@pytest.mark.parametrize('password, text', [
    (b'', b'$2y$04$YyaJeBXA/m9U0w2Fi9nH2u9UceShW/EnG0SF9izmfe1ugi5cxaojW'),
    (b'secret', b'$2y$04$rFz.EHe8uwo1z7JoFGbspumro3OO8nTMHYCwmDUeKS.Q3EHbk1X3i'),
    (b'secret', b'$2a$04$rFz.EHe8uwo1z7JoFGbspumro3OO8nTMHYCwmDUeKS.Q3EHbk1X3i'),
    (b'secret', b'$2b$04$rFz.EHe8uwo1z7JoFGbspumro3OO8nTMHYCwmDUeKS.Q3EHbk1X3i'),
    (WORDS, b'$2y$04$0i.VH06KUWZauCIy9yZuFuaRW1prkWSFabqNXPa/PCRG6ARvOE6wq'),
    (LONG[:71], b'$2y$04$LASF0yRbzcOXV5J40AmV0ek976zuJMCkB17dSVw8DTTIDqSrM3qT2'),
])
def test_bcrypt_comes_from_its_library(password, text):
    pytest.importorskip('bcrypt')
    secret = hashes.parse(text)
    assert hashes.verify(secret, password) is True
    assert hashes.verify(secret, password + b'x') is False


@pytest.mark.parametrize('text, slow', [
    (b'$2y$10$' + b'x' * 53, False), (b'$2y$11$' + b'x' * 53, True), (b'$6$a$' + b'x' * 86, False),
    (b'$6$rounds=50001$a$' + b'x' * 86, True), (b'$5$rounds=50000$a$' + b'x' * 43, False),
    (b'$apr1$a$PtM1vJaZieHDFk40mKMu6/', False), (b'{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=', False)])
def test_the_cost_of_a_hash_is_known_by_its_rounds(monkeypatch, text, slow):
    monkeypatch.setattr(hashes, 'bcrypt', hashes.bcrypt or hashes)      # to read one, it need not be there
    assert hashes.is_slow(hashes.parse(text)) is slow


def test_bcrypt_looks_at_72_octets_and_more_never_fit():
    pytest.importorskip('bcrypt')
    secret = hashes.parse(b'$2y$04$xdJfFGhbY7gPKurR1zDXtO7PxXI4Pmp0znTV6dSsNiqyE3bZWOR7y')
    assert len(LONG) > 72 and hashes.verify(secret, LONG[:72]) and not hashes.verify(secret, LONG)
    assert not hashes.verify(secret, LONG[:71])


def test_without_the_library_bcrypt_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(hashes, 'bcrypt', None)
    with pytest.raises(ValueError) as caught:
        hashes.parse(b'$2y$04$rFz.EHe8uwo1z7JoFGbspumro3OO8nTMHYCwmDUeKS.Q3EHbk1X3i')
    assert str(caught.value) == 'a bcrypt hash, which needs a library: pip install bcrypt, or the package python3-bcrypt'


@pytest.mark.parametrize('text, what', [
    (b'', 'no hash'),
    (b'hunter2', 'a password in plain text, or a hash of unknown kind: make a hash with openssl passwd -6'),
    (b'{hunter2}', 'a password in plain text, or a hash of unknown kind: make a hash with openssl passwd -6'),
    (b'rqXexS6ZhobKA', 'a crypt(3) DES hash, which is too weak: make another with openssl passwd -6'),
    (b'_J9..CCCCXBrJUJV154M', 'a crypt(3) DES hash, which is too weak: make another with openssl passwd -6'),
    (b'{SHA}hunter2', 'a broken {SHA} hash'),
    (b'{SSHA}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3', 'a hash of a kind not known here, {SSHA}'),
    (b'{SHA256}hunter2', 'a hash of a kind not known here, {SHA256}'),
    (b'$y$j9T$hunter2', 'a hash of a kind not known here, $y$'),
    (b'$argon2id$v=19$hunter2', 'a hash of a kind not known here, $argon2id$'),
    (b'$P$hunter2', 'a hash of a kind not known here, $P$'),
    (b'$2x$05$hunter2', 'a hash of a kind not known here, $2x$'),
    (b'$2y$05$hunter2', 'a broken $2y$ hash'),
    (b'$apr1$hunter2', 'a broken $apr1$ hash'),
    (b'$apr1$123456789$sHuPAw7VA9xjRbJz7zKV7/', 'a broken $apr1$ hash'),
    (b'$apr1$rounds=2000$a$sHuPAw7VA9xjRbJz7zKV7/', 'a broken $apr1$ hash'),
    (b'$1$a$sHuPAw7VA9xjRbJz7zKV7/x', 'a broken $1$ hash'),
    (b'$6$a$sHuPAw7VA9xjRbJz7zKV7/', 'a broken $6$ hash'),
    (b'$5$0123456789abcdefg$' + b'x' * 43, 'a broken $5$ hash'),
    (b'$5$rounds=999$a$' + b'x' * 43, 'a $5$ hash with 999 rounds: it takes 1000 to 1000000'),
    (b'$6$rounds=1000001$a$' + b'x' * 86, 'a $6$ hash with 1000001 rounds: it takes 1000 to 1000000'),
    (b'$6$rounds=999999999$a$' + b'x' * 86, 'a $6$ hash with 999999999 rounds: it takes 1000 to 1000000'),
    (b'$6$rounds=$a$' + b'x' * 86, 'a broken $6$ hash'),
])
def test_an_unknown_hash_is_named_by_its_kind_and_never_quoted(text, what):
    with pytest.raises(ValueError) as caught:
        hashes.parse(text)
    assert str(caught.value) == what
    assert 'hunter2' not in str(caught.value)


@pytest.mark.parametrize('cost', [3, 16, 31])
def test_a_bcrypt_that_would_take_for_ever_is_refused(cost):
    pytest.importorskip('bcrypt')
    with pytest.raises(ValueError) as caught:
        hashes.parse(b'$2y$%02d$rFz.EHe8uwo1z7JoFGbspumro3OO8nTMHYCwmDUeKS.Q3EHbk1X3i' % cost)
    assert str(caught.value) == 'a bcrypt hash with a cost of %d: it takes 4 to 15' % cost


def test_the_interpreter_is_let_go_of_again_and_again():
    pauses = []
    secret = hashes.parse(b'$6$rounds=10000$q$' + b'x' * 86)
    assert not hashes.verify(secret, b'secret', lambda: pauses.append(1))
    assert len(pauses) == -(-10000 // (hashes.PAUSE * hashes.CYCLE))


@pytest.mark.parametrize('equal', [hashes._equal, getattr(hmac, 'compare_digest', hashes._equal)])
def test_our_comparison_finds_out_if_octets_are_equal(equal):
    assert equal(b'', b'') and equal(b'ab\xff', b'ab\xff')
    assert not any(equal(b'abc', other) for other in (b'', b'ab', b'abd', b'bbc', b'abcd'))

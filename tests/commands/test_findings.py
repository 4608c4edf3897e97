"""How bad a finding is."""
from __future__ import absolute_import, division, print_function

from geproxy.commands import findings


def test_each_severity_has_its_word_and_its_exit_code():
    assert len(findings.WORDS) == len(findings.EXITS) == findings.ERROR + 1
    assert [findings.EXITS[each] for each in (findings.OK, findings.NOTE, findings.WARNING, findings.ERROR)] == [0, 0, 1, 2]

"""Source addresses that this host has or does not have. (test_source_address has the rest.)"""
from __future__ import absolute_import, division, print_function

from geproxy.commands import source_trials
from geproxy.settings import loading


def test_each_source_is_tried_once():
    ini = ['[upstream]', 'source = 192.0.2.77 ::1', 'routes =', '  .a direct source=127.0.0.3', '  .b direct source=127.0.0.3']
    assert source_trials.tried(loading.load('test.ini', ini)) == [('127.0.0.3', True), ('192.0.2.77', False), ('::1', True)]


def test_without_sources_there_is_nothing_to_try():
    assert source_trials.tried(loading.load('test.ini', [])) == []

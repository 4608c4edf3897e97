"""geproxy: a forward proxy for HTTP/1.x on gevent. Imports nothing: patching must come first."""

__version__ = '0.1.0'

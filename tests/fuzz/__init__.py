"""Random connections to a real geproxy: see run.py."""

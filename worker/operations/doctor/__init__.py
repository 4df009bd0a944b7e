"""Checks of everything that a worker depends on; nothing is changed."""

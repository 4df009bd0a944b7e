"""Settling commands of unknown fate by evidence from the venue."""

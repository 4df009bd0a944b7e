"""Strangers: what somebody can do who holds one login, or one key, and should be able to do little."""

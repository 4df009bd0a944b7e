"""Connections to a Redis-compatible server, with or without Sentinels and TLS."""

"""Sending reports to services that can't hold a connection."""

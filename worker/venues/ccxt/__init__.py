"""Exchanges that ccxt knows, as venues ``ccxt:<id>``: ccxt builds, signs and parses; our own transport sends."""

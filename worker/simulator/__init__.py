"""Simulates four venues over real HTTP: keeps accounts, records executions, and injects faults on request."""

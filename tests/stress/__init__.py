"""Venues under stress: what a venue that refuses, hangs or bans, or a flood on one account, costs everybody else."""

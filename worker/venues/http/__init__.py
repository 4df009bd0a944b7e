"""HTTP to the venues: connections, grammar, bounds."""

"""The desk: what an operator sees and does in a browser."""

"""The venue Everstrike."""

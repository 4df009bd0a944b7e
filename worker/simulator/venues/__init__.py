"""The venues that the simulator plays."""

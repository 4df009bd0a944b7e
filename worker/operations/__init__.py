"""What an operator sees and does, whatever it is shown on."""

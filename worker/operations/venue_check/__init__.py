"""`orders venue-check`: what is believed of an exchange, tried at the exchange itself with one account's key."""

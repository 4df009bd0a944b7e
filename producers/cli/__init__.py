"""The `orders` program."""

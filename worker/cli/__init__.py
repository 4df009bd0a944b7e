"""The commands of `orders` that need the worker's dependencies."""

"""The venues: how a request is built and signed, and what a response proves."""

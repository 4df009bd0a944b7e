"""The venues: how a request is built and signed, and what an answer proves."""

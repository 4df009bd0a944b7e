"""The queue: kombu transports that lose no message, and what could not be read."""

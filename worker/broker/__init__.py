"""The broker: kombu transports that lose no message, dead letters, and the state of the queues."""

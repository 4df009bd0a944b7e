"""What a service installs to enqueue commands and read their reports."""

"""Two usual ways to do the same, for comparison: a task with automatic retries, and a client with retries inside."""

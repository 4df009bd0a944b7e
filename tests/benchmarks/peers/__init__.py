"""The same request with a stored result, by other task queues.

They run under an interpreter of their own (``requirements-peers.txt``), so each module imports its own library and
requests or aiohttp alone. Each has ``enqueue(number)``.
"""

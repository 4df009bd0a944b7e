"""The same post with a stored result, by other task queues.

They run under an interpreter of their own (``requirements-peers.txt``), so what is here imports its own library and
requests or aiohttp alone. Each module has ``enqueue(number)``, and ``enqueue_many(numbers)`` where its library can.
"""

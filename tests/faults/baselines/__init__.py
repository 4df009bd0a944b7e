"""Two usual ways to do the same, for comparison: a Celery task with automatic retries, and a client with retries
inside.

They run under an interpreter of their own (``compare.py`` tells how to make one), so what is here, but for
``compare.py``, imports Celery, celery-once, requests and ccxt alone.
"""

"""Celery's own integration tests, over our transport and our result backend: ``python -m tests.celery_suite``."""

"""Celery's side of the worker: configuration, tasks, results, callbacks."""

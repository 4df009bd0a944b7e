"""A worker's log lines, metrics and traces.

The executor reports events to a :class:`worker.execution.events.Observer`; the observers are in this package.
"""

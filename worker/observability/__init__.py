"""What a worker shows of its work: log lines, metrics, traces.

The executor reports events to a :class:`worker.execution.events.Observer`; the observers are in this package.
"""

"""The demo: runs an embedded server, the simulated venues and a real worker, and shows what they do.

``orders demo``, or ``python -m worker.demo [--keep] [--json]``.
"""


def run_demo(keep: bool = False, json_output: bool = False) -> int:
    """Run the demo and return its exit code.

    0: every result was what the contract says. 1: a result was not, or a process did not start. 128 + n: ended by
    signal n, so 130 for Ctrl-C. With ``keep`` everything stays up until Ctrl-C, which then exits with 0.
    ``json_output`` prints one JSON document to stdout, and the progress to stderr.
    """
    # Not at the top, because the small processes of the demo import this package too.
    try:
        from worker.demo.run import run
    except KeyboardInterrupt:
        return 130

    return run(keep=keep, json_output=json_output)

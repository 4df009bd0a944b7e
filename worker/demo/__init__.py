"""The demo: an embedded server, both venues and a real worker on this machine, shown at work.

``orders demo``, or ``python -m worker.demo [--keep] [--json]``.
"""


def run_demo(keep: bool = False, json_output: bool = False) -> int:
    """Run the demo and return its exit code.

    0: everything was as the contract says. 1: something was not, or a part did not start. 128 + n: ended by signal n,
    so 130 for Ctrl-C. With ``keep`` the parts stay up until Ctrl-C, which is then the ordinary end. ``json_output``
    prints one JSON document to stdout and the progress to stderr.
    """
    # Here, because this package is also imported by the small processes that it starts.
    try:
        from worker.demo.run import run
    except KeyboardInterrupt:
        return 130

    return run(keep=keep, json_output=json_output)

"""Importing this module imports ccxt's code of the exchanges on a rig. It takes half a second each, which a worker that
is forked every second need not spend."""

from worker.venues.ccxt.binding import bound_class

for ccxt_id in ("krakenfutures", "okx"):
    bound_class(ccxt_id)

"""Each alert fired once for real: Prometheus and Alertmanager from Debian's packages over real workers.

``make alerts-test``. The rules, the scrape configuration and Alertmanager's are those of ``compose/``, with their times
shortened and their targets here; see :mod:`tests.alerts.rig`.
"""

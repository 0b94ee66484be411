"""What makes a capability run: the only clock, loop, sleep, backoff, jitter, task, drain, rate limit, leases, log set-up and health.

May touch: asyncio, the operating system's clock and signals, structlog, prometheus_client. Must not know any capability or
any AWS library: what a tick does is handed in, and only its errors (`dagy_control.errors`) are understood here. Of the ports
only two: the record writer knows the runs, the leases their table.
"""

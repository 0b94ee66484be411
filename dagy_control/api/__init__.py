"""The HTTP face: metrics and health.

May touch: FastAPI, uvicorn, prometheus_client, the kernel. Must not run a loop, write a record, or know a capability: what
can be triggered is handed in as callables.
"""

"""The HTTP face: metrics, health, and orphan scans.

May touch: FastAPI, uvicorn, prometheus_client, the kernel. Must not run a loop, write a record, or know a capability: who scans
is handed in.
"""

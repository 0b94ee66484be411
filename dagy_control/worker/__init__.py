"""What runs inside the worker container: claim the attempt, fetch the artifact, run the flow, report its tasks, commit the result.

May touch: `model`, `ports`, `kernel`, `flow_engine`, a folder of its own on the container's disk. Must not: settings, AWS
libraries, any loop of the daemon. Its first write is the claim, its last the result; between them it may die at any moment.
"""

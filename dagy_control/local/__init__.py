"""The embedded cloud: what a laptop without an AWS account, and the tests, run the real program against.

Lives here: one pure semantic model of ECS on Fargate (`ecs_model.py` and the `ecs_*` rule modules beside it), its HTTP
face, the agents that run each task as a real process (`process_agent.py`) or as a container of the worker's image
(`container_agent.py`, by podman), moto for everything else, and `EmbeddedCloud`, which ties them together.

May touch: processes, sockets on loopback, files below its own work folder. Must not: be imported by anything but
`entrypoints` and tests, reach the network, or read the user's own AWS profile. The model itself does no I/O and reads
no clock: time is passed in. Faults are switched here, never in the product. It states AWS's behaviour independently of
`dagy_control.model`, so that a wrong belief there shows in the tests.
"""

"""The ports as AWS implements them: DynamoDB tables, the ECS API, an SQS queue, S3 objects, the task metadata endpoint.

May touch: aiobotocore and botocore (nobody else may), the ports, the model, the kernel's clock, limiter, retry and telemetry.
Must not: decide anything about runs, read settings, import a capability. Every error that leaves here is one of
`dagy_control.errors`; cancellation passes through.
"""

"""Running dagy_control in an AWS account: the CDK app and its stacks, images, monitoring rules, queries. The program must not import it."""

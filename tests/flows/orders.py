"""An example flow, written as an author would."""

from dagy_control.sdk import flow, task


@task
def extract(day: str, regions: int = 3) -> list[int]:
    return [len(day) + region for region in range(regions)]


@task(retries=2, retry_delay_seconds=0, timeout_seconds=30)
def double(number: int, offset: int = 0) -> int:
    return number * 2 + offset


@task(name="add-up", isolation="thread")
def add_up(numbers: list[int], labels: dict[str, object]) -> dict[str, object]:
    return {"total": sum(numbers), **labels}


@flow(version="1.2.0", max_concurrency=2)
def orders(day: str, offset: int = 5) -> dict[str, object]:
    rows = extract(day)
    doubled = double.map([1, 2, 3], offset=offset)
    return add_up(doubled, {"day": day, "rows": rows})

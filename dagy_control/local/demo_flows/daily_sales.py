"""Example flow: a fan-out over shops, a task that is retried, and one whose first attempt is ended by its timeout."""

import tempfile
import time
from pathlib import Path

from dagy_control.sdk import flow, task

SHOPS = ["berlin", "lagos", "lima", "osaka"]


def first_time(what: str) -> bool:
    """Whether this run has not been here before. Attempts are separate processes of one worker, so they share its folder."""
    mark = Path(tempfile.gettempdir()) / f"{what}.seen"
    if mark.exists():
        return False
    mark.touch()
    return True


@task
def list_orders(day: str, shop: str) -> list[int]:
    """Orders of a shop, in cents."""
    return [100 * (len(shop) + n) + len(day) for n in range(20)]


@task(retries=2, retry_delay_seconds=0.2)
def exchange_rate(day: str) -> float:
    """A service that refuses the first call: the task is retried."""
    if first_time("exchange-rate"):
        raise ConnectionError(f"no rate for {day} yet")
    return 1.08


@task(retries=1, timeout_seconds=1.0)
def read_archive(day: str) -> int:
    """A read that hangs the first time: the timeout ends it for good, and the next attempt succeeds."""
    if first_time("archive"):
        time.sleep(60)
    return len(day)


@task(isolation="thread")
def total(orders: list[list[int]], rate: float, archived: int) -> float:
    """Everything together, in euros."""
    return round(sum(map(sum, orders)) * rate / 100 + archived, 2)


@flow(version="1")
def daily_sales(day: str) -> float:
    """Sum up a day's orders over all shops."""
    orders = [list_orders(day, shop) for shop in SHOPS]
    return total(orders, exchange_rate(day), read_archive(day))

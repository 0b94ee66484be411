"""The day's sales of all regions: fetched three at a time, summed up apart, reported together."""

# ruff: noqa: T201 - an example prints

from collections import Counter

from dagy_control.sdk import exponential_backoff, flow, task
from shop_reports.notices import is_worth_another_try, note_retry, page
from shop_reports.orders import orders_of

REGIONS = ["north", "south", "east", "west", "overseas"]


@task(
    retries=3,
    retry_delay_seconds=exponential_backoff(2),  # 2, 4 and 8 seconds
    retry_jitter_factor=0.5,  # and up to half as much again, so that many runs do not come back at once
    retry_condition_fn=is_worth_another_try,
    timeout_seconds=60,
    concurrency_limit=3,  # the shop bears three callers of one run
    on_retry=note_retry,
    on_failure=page,
    result="json",
)
def fetch(region: str, day: str) -> list[dict[str, int | str]]:
    """One region's orders."""
    return orders_of(region, day)


@task(timeout_seconds=60, on_failure=page)
def sum_up(orders: list[dict[str, int | str]]) -> Counter[str]:
    """Amounts by customer, in cents. A Counter is no JSON, so this result stays a pickle."""
    totals: Counter[str] = Counter()
    for order in orders:
        totals[str(order["customer"])] += int(order["amount_cents"])
    return totals


@task(isolation="thread")
def report(totals: list[Counter[str]], day: str, best: int) -> str:
    """The report's text. Light work: a thread will do."""
    everybody = sum(totals, Counter[str]())
    lines = [f"{day}: {sum(everybody.values()) / 100:.2f}"]
    lines += [f"  {customer} {cents / 100:.2f}" for customer, cents in everybody.most_common(best)]
    return "\n".join(lines)


@flow(version="1")
def daily_sales(day: str, best: int = 3) -> str:
    """The body only connects tasks: what it returns is known when the flow has run."""
    orders = fetch.map(REGIONS, day=day)
    return report([sum_up(each) for each in orders], day, best)


if __name__ == "__main__":
    print(daily_sales.run_local(day="2026-11-21"))

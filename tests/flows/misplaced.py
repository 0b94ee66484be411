"""Flows with one mistake each. The line of the mistake ends with `# HERE`."""

import functools

from dagy_control.sdk import flow, task
from tests.flows.orders import double


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@flow
def condition(n: int) -> int:
    if n:  # HERE
        return 1
    return double(n)


@flow
def argument() -> int:
    return total({1, 2})  # type: ignore[arg-type]  # HERE


@flow
def in_a_helper(n: int) -> int:
    return helper(double(n))


def helper(doubled: int) -> int:
    return total([doubled + 1])  # HERE: where it is used, not where the flow is built


@flow
def through_the_library(n: int) -> object:
    return functools.reduce(lambda a, b: a + b, [n, n])  # HERE


@flow  # HERE
def default(days: object = frozenset({1})) -> None:
    double(1)


@flow  # HERE
def star(*days: int) -> None:
    double(1)


@flow  # HERE
def result() -> object:
    double(1)
    return object()


@flow  # HERE
def nothing() -> None:
    """Connect nothing."""


@flow
def wrong_call() -> int:
    return double(numbr=1)  # type: ignore[call-arg]  # HERE


def deep() -> list[object]:
    value: list[object] = []
    for _ in range(70):
        value = [value]
    return value


@flow
def too_deep() -> int:
    return total(deep())  # type: ignore[arg-type]  # HERE

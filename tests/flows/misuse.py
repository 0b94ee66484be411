"""Small flows at the edges: odd, or wrong on purpose."""

from dagy_control.sdk import flow, task
from tests.flows.orders import double


@task(name="double-2")
def shadow(number: int) -> int:
    return number


@task
def broken(number: int) -> float:
    return 1 / number


@flow
def repeats() -> None:
    double(1)
    double(1)
    shadow(1)
    double.map([1, 2])


@flow
def mixed_map(n: int) -> list[int]:
    one = double(1)
    return double.map([1, one, n])


@flow
def fails(number: int) -> float:
    return broken(number)


@flow
def no_tasks() -> None:
    """Connect nothing."""


@flow
def odd_default(days: object = frozenset({1})) -> None:
    double(1)


@flow
def star_args(*days: int) -> None:
    double(1)


@flow(name="bad name")
def bad_name() -> None:
    double(1)


@flow
def odd_result() -> object:
    double(1)
    return object()


KEPT: list[int] = []


@flow
def keeps() -> None:
    KEPT.append(double(1))


@flow
def reuses() -> None:
    double(KEPT[0])

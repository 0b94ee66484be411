"""A message to people who watch."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What subscribers get. `attributes`: by them a subscription filters."""

    subject: str
    body: str
    attributes: Mapping[str, str]

"""What every section of the settings shares: frozen, no unknown keys, and the field types.

Numbers and booleans are strict: `enabled = "false"` or `max_in_flight = true` in the file is a mistake, not a value.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict
from pydantic.config import JsonDict

RESTART: JsonDict = {"restart": True}
"""Marks a field that is read once at start: a changed value needs a restart of the service."""

SAFE_MINIMUM = "safe_minimum"
"""The key, in a field's extra schema, of the least value that is safe against real AWS."""


def safe_minimum(value: int) -> JsonDict:
    """Mark a field whose values below `value` are refused, unless `embedded_cloud` is on."""
    return {SAFE_MINIMUM: value}


Flag = Annotated[bool, Strict()]
"""True or false."""

Count = Annotated[int, Strict()]
"""A whole number."""

Number = Annotated[float, Strict()]
"""A number, whole or not."""


class Section(BaseModel):
    """One table of the configuration file. Each field's docstring says unit, why and meaning; the range stands in the field."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        str_strip_whitespace=True,
        use_attribute_docstrings=True,
    )


DynamoDBTable = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$")]
"""A DynamoDB table's name: 3 to 255 of `A-Z a-z 0-9 _ . -` ("Naming rules", DynamoDB Developer Guide)."""

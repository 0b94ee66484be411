"""A module whose own import fails."""

import custom_module  # noqa: F401 - the import that a dependency package would have satisfied

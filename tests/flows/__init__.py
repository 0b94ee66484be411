"""Flows that the tests run: a package, as an author would write it, because children import it by name."""

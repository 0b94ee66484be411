"""A user's text on its way into a record."""


def storable(text: str, max_characters: int) -> str:
    """The text cut to length, and without lone surrogates: an error that quotes an undecodable file name holds them, UTF-8 cannot."""
    return text[:max_characters].encode("utf-8", "replace").decode("utf-8")

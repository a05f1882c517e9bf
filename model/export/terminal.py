"""Text of the hub, of files and of libraries, made harmless for a terminal."""


def printable(text: object) -> str:
    """Escapes every character that cannot be seen: a terminal would obey it, or show
    something else than is there."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )


def say(text: str) -> None:
    """Prints a line."""
    print(printable(text), flush=True)

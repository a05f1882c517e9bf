"""What goes wrong through no fault of this program."""


class ExportError(Exception):
    """What the user is told: one line that says what is wrong and what may help."""


def first_line(error: BaseException) -> str:
    """The beginning of what a library says, which is all that fits in a line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__

"""Errors that are not bugs of this program."""


class ExportError(Exception):
    """An error for the user: one line that says what is wrong and what may help."""


def first_line(error: BaseException) -> str:
    """The first line of a library's message, so that the error stays one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__

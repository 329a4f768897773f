"""Text for a terminal: file names may hold line breaks, escape sequences and bytes that are no text."""


def printable(text: str) -> str:
    """One line that does nothing but stand there; control characters become ``\\n``, ``\\x1b``, ``\\udcff``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines of ours."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")

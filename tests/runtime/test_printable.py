"""What is said stays one line, whatever a file is called."""

from edsr_runtime.printable import printable, printable_lines


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert printable("a\nb\x1b[31m\r\t\x00") == "a\\nb\\x1b[31m\\r\\t\\x00"
    assert printable("Ж 漢 🙂 é") == "Ж 漢 🙂 é"
    assert printable("bad\udcff name\u202egnp") == "bad\\udcff name\\u202egnp"
    assert printable_lines("error:\n  a\x07") == "error:\n  a\\x07"

"""Documents tell the truth: marked commands of README.md run, and all others name commands and options that exist.

A ``sh`` block is run when ``<!-- run -->`` stands on the line before it. The marked blocks run in order, in one folder
that starts as a copy of the project, as they would in a clone after ``pip install``.
"""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMMANDS: dict[str, str] = PYPROJECT["project"]["scripts"]
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"^(?P<mark><!-- run -->\n\s*)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One ``sh`` block of a Markdown file."""

    line: int
    """Line of the opening fence, from 1."""
    text: str
    marked: bool
    """Whether the block is to be run."""


def sh_blocks(markdown: str) -> list[Block]:
    return [
        Block(markdown.count("\n", 0, found.start("text")), found["text"], found["mark"] is not None)
        for found in BLOCK.finditer(markdown)
        if found["language"] == "sh"
    ]


def command_lines(text: str) -> list[list[str]]:
    """The words of each command of a shell block, comments and line continuations resolved, pipes and lists split."""
    lines = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
        words.whitespace_split = True
        current: list[str] = []
        for word in words:
            if set(word) <= set("|;&"):
                lines.append(current)
                current = []
            else:
                current.append(word)
        lines.append(current)
    return [line for line in lines if line]


def option_error(command: click.Command, words: list[str], path: str) -> str | None:
    """Why ``words`` cannot follow ``command``, as far as names of subcommands and options go; None if they can."""
    if isinstance(command, click.Group):
        chosen = next((word for word in words if not word.startswith("-")), None)
        if chosen is None:
            return None if set(words) <= {"--help", "--version"} else f"{path}: no subcommand in {words}"
        if chosen not in command.commands:
            return f"{path} has no subcommand {chosen}, but {', '.join(command.commands)}"
        position = words.index(chosen)
        return option_error(command.commands[chosen], words[position + 1 :], f"{path} {chosen}")
    known = {"--help"} | {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
    for word in words:
        if word == "--":
            return None
        if re.match(r"--?[A-Za-z]", word):
            name = word.partition("=")[0] if word.startswith("--") else word[:2]
            if name not in known:
                return f"{path} has no option {name}, but {', '.join(sorted(known))}"
    return None


def mistakes(text: str) -> list[str]:
    """What a shell block names that does not exist: commands, options, make targets, extras, scripts of the project."""
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    extras = PYPROJECT["project"]["optional-dependencies"]
    found = []
    for words in command_lines(text):
        if words[0] == "torchrun" and "--no-python" in words:  # what it starts is what counts
            words = words[words.index("--no-python") + 1 :]
        program, *rest = words
        if program.startswith("edsr-"):
            if program not in COMMANDS:
                found.append(f"there is no command {program}, but {', '.join(COMMANDS)}")
                continue
            module, _, attribute = COMMANDS[program].partition(":")
            error = option_error(getattr(importlib.import_module(module), attribute), rest, program)
            found += [error] if error else []
        elif program == "make":
            found += [f"there is no make target {word}" for word in rest if "=" not in word and word not in targets]
        elif program.startswith("python") and rest and rest[0].endswith(".py"):
            found += [] if (ROOT / rest[0]).exists() else [f"there is no file {rest[0]}"]
        for word in words:
            for names in re.findall(r"(?:edsr-toolkit|\.)\[([\w,-]+)\]", word):
                found += [f"there is no extra {name}" for name in names.split(",") if name not in extras]
    return found


README_BLOCKS = sh_blocks((ROOT / "README.md").read_text())
NAMES = [f"line{block.line}" for block in README_BLOCKS]


DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for folder in (".", "benchmarks", "docs", "export", "runtime", "train")
    for path in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
)


@pytest.mark.parametrize(
    ("document", "block"),
    [
        pytest.param(document, block, id=f"{document}:{block.line}")
        for document in DOCUMENTS
        for block in sh_blocks((ROOT / document).read_text())
    ],
)
def test_commands_and_options_that_a_document_names_exist(document: Path, block: Block) -> None:
    assert mistakes(block.text) == []


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project without what was built or installed in it."""
    ignore = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "demo-out", "dist", "results")
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("readme") / "edsr-toolkit", ignore=ignore)


@pytest.mark.parametrize(
    "block",
    [b for b in README_BLOCKS if b.marked],
    ids=[n for n, b in zip(NAMES, README_BLOCKS, strict=True) if b.marked],
)
def test_marked_commands_of_the_readme_run(block: Block, clone: Path) -> None:
    absent = [name for name in COMMANDS if not (BIN / name).exists()]
    assert absent == [], "not installed in this environment: pip install -e ."
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text], cwd=clone, env=env, text=True, capture_output=True, timeout=300
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}{done.stderr}"


def test_readme_shows_how_to_upscale_and_some_of_it_is_run() -> None:
    assert any(block.marked and "edsr-upscale" in block.text for block in README_BLOCKS)
    assert any("make demo" in block.text for block in README_BLOCKS)


SAMPLE = """
```sh
make demo
```
Text.

<!-- run -->
```sh
edsr-upscale -i in.png \\
  -o out.png   # a comment with --no-such-option
```

```python
print("edsr-upscale --no-such-option")
```
"""


def test_blocks_are_found_with_their_line_and_their_mark() -> None:
    assert [(block.line, block.marked) for block in sh_blocks(SAMPLE)] == [(2, False), (8, True)]
    assert command_lines(sh_blocks(SAMPLE)[1].text) == [["edsr-upscale", "-i", "in.png", "-o", "out.png"]]
    assert command_lines("a 'b c' | d -x; e && f\n\n# only a comment") == [["a", "b c"], ["d", "-x"], ["e"], ["f"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("edsr-upsacle -i a.png", "there is no command edsr-upsacle"),
        ("edsr-upscale -i a.png --no-such-option 3", "edsr-upscale has no option --no-such-option"),
        ("ls | edsr-export --ckpt a.pt --no-such=1", "edsr-export has no option --no-such"),
        ("torchrun --standalone --no-python edsr-train fit --no-such", "edsr-train fit has no option --no-such"),
        ("make everything", "there is no make target everything"),
        ("pip install 'edsr-toolkit[cpu,warp]'", "there is no extra warp"),
        ("python benchmarks/no_such.py", "there is no file benchmarks/no_such.py"),
    ],
)
def test_a_wrong_name_is_noticed(text: str, message: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith(message)

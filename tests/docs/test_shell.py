"""Commands are typed as at a terminal: the shell stays, their errors are seen, and none hangs for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from docs.blocks import blocks_of
from docs.shell import Shell, ShellError
from docs.typing_in import GuideError, type_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with Shell(["bash"], {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, tmp_path) as opened:
        yield opened


def test_what_was_exported_and_the_folder_stay(shell: Shell) -> None:
    assert shell.run("export WORD='it is'; mkdir ~/x; cd ~/x", 5) == (0, "")
    assert shell.run('echo "$WORD" in ${PWD##*/}', 5) == (0, "it is in x\n")


def test_a_status_and_errors_come_with_the_output(shell: Shell) -> None:
    assert shell.run("echo one; echo two >&2; (exit 3)", 5) == (3, "one\ntwo\n")
    assert shell.run("printf 'no end of line'", 5) == (0, "no end of line")
    assert shell.run("echo 'quotes \"in\" it'", 5) == (0, 'quotes "in" it\n')


def test_a_script_of_several_lines_and_a_document_in_it(shell: Shell) -> None:
    assert shell.run("cat <<END\nfirst\nEND\necho second", 5) == (0, "first\nsecond\n")


def test_nothing_can_be_typed_into_a_command(shell: Shell) -> None:
    assert shell.run("read -r line", 5)[0] == 1


def test_a_command_that_does_not_end_is_told(shell: Shell) -> None:
    with pytest.raises(ShellError, match="did not end within"):
        shell.run("echo begun; sleep 60", 0.2)


def test_a_command_that_ends_the_shell_is_told(shell: Shell) -> None:
    with pytest.raises(ShellError, match="ended the shell"):
        shell.run("exit 4", 5)


GOOD = """\
<!-- run: stack -->
```console
$ export COUNT=3
$ echo there are $COUNT
there are 3
```
<!-- run: stack, exit 1 -->
```bash
test -n "$COUNT"
false
echo never
```
"""


def test_a_guide_that_is_right_is_typed_to_its_end(shell: Shell, guide: Callable[[str], Path]) -> None:
    assert type_in(blocks_of(guide(GOOD)), shell) == 3


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("there are 3\n", "there are 4\n", r"guide.md:4: `echo there are \$COUNT`: the guide shows"),
        (", exit 1", "", "guide.md:9: .*ended with status 1, not 0"),
        ("false\n", "true\n", "status 0, not 1, and printed\nnever"),
    ],
)
def test_a_guide_that_is_wrong_is_told_with_its_line(
    shell: Shell, guide: Callable[[str], Path], right: str, wrong: str, said: str
) -> None:
    with pytest.raises(GuideError, match=f"(?s){said}"):
        type_in(blocks_of(guide(GOOD.replace(right, wrong, 1))), shell)

"""Boot numbers that never repeat: they make a counter from zero safe after a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from services.common.durable import REAL
from services.common.errors import AppiaError
from services.common.locks import locked_file
from services.common.replacing import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.durable import Disk

BOOT_LIMIT = 1 << 32
LONGEST_WAIT_S = 2.0


def next_boot(
    path: Path,
    now_s: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    disk: Disk = REAL,
) -> int:
    """Take the next boot number (1 to 2**32 - 1) and keep it on disk before giving it out.

    It is the next full second since 1970, and it is given out when that has come: so a boot after it takes a
    greater one, also where the folder was lost or rolled back to any earlier state in between. Where the
    clock was set back by more than two seconds it is one more than the last. Both at once, or a machine that
    is cloned while it boots, can bring a number again: against that `V1Sealer` draws at random.

    Processes that share the file take turns. Blocks on the disk, and for up to two seconds.

    Raises:
        AppiaError: the file is damaged or cannot be written, or the numbers are used up.
    """
    try:
        with locked_file(disk, path.with_name(f"{path.name}.lock")):
            boot = max(int(now_s()) + 1, _last_boot(path) + 1, 1)
            if boot >= BOOT_LIMIT:
                raise AppiaError(
                    f"{path}: all boot numbers are used (the limit is {BOOT_LIMIT - 1}): take a new seed."
                )
            replace_file(disk, path, f"{boot}\n".encode())
            wait_s = boot - now_s()
            if 0 < wait_s <= LONGEST_WAIT_S:
                sleep(wait_s)
            return boot
    except OSError as error:
        raise AppiaError(
            f"{path} could not be locked ({error.strerror}): check its folder and owner."
        ) from error


def _last_boot(path: Path) -> int:
    try:
        text = path.read_text("ascii").strip()
    except FileNotFoundError:
        return 0
    except (OSError, UnicodeDecodeError) as error:
        raise AppiaError(f"{path} could not be read ({error}): check its owner and content.") from error
    if not text.isdecimal():
        raise AppiaError(
            f"{path} does not hold a boot number: write one into it that is greater than any used before, "
            f"for example the output of `date +%s`."
        )
    return int(text)

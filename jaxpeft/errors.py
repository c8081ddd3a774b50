"""The one exception that means: the user can fix this. `main` turns it into a message and exit code 2."""

import errno
from collections.abc import Sequence

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)  # of any file: the user's to mend


class InputError(ValueError):
    """Bad config, flag, file or data: what was expected, what came, what to change.

    Never carries text of a note. Several problems found together are listed together.
    """

    def __init__(self, *problems: str):
        self.problems: Sequence[str] = problems
        if len(problems) == 1:
            message = problems[0]
        else:
            message = f"{len(problems)} problems:\n" + "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(message)


def first_few(problems: Sequence[str], most: int) -> list[str]:
    """At most so many problems, and the number of those left out as a last one."""
    left_out = len(problems) - most
    return [*problems[:most], f"and {left_out} more"] if left_out > 0 else list(problems)

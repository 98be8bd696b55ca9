"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gdna.errors import GdnaError


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`, moved onto it when the block ends well and removed when it does not.

    The temporary name keeps the suffix, since many writers choose the format by it. Raises `GdnaError` where the disk
    is full or the folder may not be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise GdnaError(f"{path}: the disk is full; free space or write elsewhere (out=DIR)") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise GdnaError(f"{path}: may not be written ({error.strerror}); write elsewhere (out=DIR)") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)

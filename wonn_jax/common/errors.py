"""Errors as commands print them."""

import errno

_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Free some space there; then try again."),
    errno.EROFS: "Make the file system writable, or choose another folder.",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Check its permissions, or choose another path."),
    errno.ENOENT: "Check the path.",
    errno.EISDIR: "Give the path of a file.",
    errno.ENOTDIR: "Check the path: a part of it is a file, not a folder.",
    errno.EEXIST: "Remove it, or choose another path.",
    errno.ELOOP: "Check the path: its links lead back to themselves.",
    errno.ENAMETOOLONG: "Choose a shorter one.",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Close other programs, or raise `ulimit -n`."),
}
_OTHERWISE = "Check the file system, then try again."


def explain(error: BaseException) -> str:
    """What an error says; one of the operating system with its file, and what to do.

    `[Errno 28] No space left on device: 'runs/a/metrics.jsonl'` becomes `runs/a/metrics.jsonl: No
    space left on device. Free some space there; then try again.`
    """
    if not isinstance(error, OSError) or error.errno is None or not error.strerror:
        return str(error) or type(error).__name__
    what = error.strerror.rstrip(".")
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{what}. {_ADVICE.get(error.errno, _OTHERWISE)}"

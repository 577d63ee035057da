"""What a command has to say of a fault: a sentence of what was found and what to do, status 2."""

import re
from collections.abc import Sequence

ADVICE = re.compile(
    r"must|use |give|type|set |leave|requir|check|restore|free |try|remove|delete|copy|download|"
    r"pass |write|add |save|start|train|convert|install|repair|look|see |choose|did you mean|"
    r"there (is|are) |correct |it has|they go|--|choices|pip |expected|allowed",
    re.IGNORECASE,
)
"""A word of advice, or of what is required."""
_LONGEST = 3000  # characters of a message


def wrong_ending(status: int, err: str, names: Sequence[str]) -> list[str]:
    """What is wrong with how a command ended that should have refused something; none if nothing.

    Args:
      status: its exit status.
      err: what it printed on standard error.
      names: of which the message has to contain one: a file, field, flag or value.
    """
    if "Traceback (most recent call last)" in err:
        lines = err.strip().splitlines()
        places = re.findall(r'File ".*?(\w+/\w+\.py)", line \d+, in (\w+)', err)
        place = " in {1} of {0}".format(*places[-1]) if places else ""
        return [f"traceback{place}: {lines[-1][:200]}"]
    if status < 0:
        return [f"ended by signal {-status}"]
    if status != 2:
        return [f"exit status {status}, not 2"]
    message = re.search(r"(?:^|[^\w])error: (.*)", err, re.IGNORECASE | re.DOTALL)
    if not message or not message[1].strip():
        return ["no message that begins with 'Error:'"]
    faults = []
    if names and not any(name in err for name in names):
        faults.append(f"the message names none of {', '.join(map(repr, names))}")
    if not ADVICE.search(message[1]) and not err.startswith("usage: "):
        faults.append("the message does not say what to do")
    if len(message[1]) > _LONGEST:
        faults.append(f"a message of {len(message[1])} characters")
    return faults

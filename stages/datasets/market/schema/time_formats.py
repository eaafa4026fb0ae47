"""Formats of times that a user names -> the layouts that they allow: the text of times with 0 for each digit."""

import re

EPOCHS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # nanoseconds
DIRECTIVES = {
    "Y": "(?P<year>0000)",
    "y": "(?P<short>00)",
    "m": "(?P<month>00?)",
    "d": "(?P<day>00?)",
    "b": "(?P<name>[A-Za-z]{3})",
    "H": "(?P<hour>00?)",
    "I": "(?P<hour>00?)",
    "M": "(?P<minute>00?)",
    "S": "(?P<sec>00?)",
    "f": "(?P<fraction>0{1,9})",
    "p": "(?P<half>[AaPp])[Mm]",
    "z": "(?P<zone>Z|[+-](?P<zone_hour>00)(?::?(?P<zone_minute>00))?)",
    "%": "%",
}


def pattern_of(time_format: str) -> re.Pattern[bytes] | None:
    """Return the layouts that a format as of `strptime`, or one of `EPOCHS`, allows; None if it says something else."""
    if time_format in EPOCHS:
        return re.compile(rf"[ \t]*(?P<epoch_{time_format}>0{{1,19}})(?:\.0+)?[ \t]*".encode())
    parts = re.split(r"%(.)", time_format)
    if any(name not in DIRECTIVES for name in parts[1::2]):
        return None
    texts = [DIRECTIVES[part] if i % 2 else re.escape(re.sub(r"\d", "0", part)) for i, part in enumerate(parts)]
    try:
        pattern = re.compile(f"[ \t]*{''.join(texts)}[ \t]*".encode())
    except re.error:
        return None
    has_date = {"day", "month"} <= pattern.groupindex.keys() or {"day", "name"} <= pattern.groupindex.keys()
    has_year = not {"year", "short"}.isdisjoint(pattern.groupindex)
    return pattern if has_date and has_year else None

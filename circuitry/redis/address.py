"""What is wrong with a URL, said without a word of the password that may be in it.

What redis-py and urllib say of a wrong one shows parts of it, and some mistakes redis-py overlooks: a
database that isn't a number would be database 0.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit


def fault_of(url: str) -> str | None:
    """What is wrong with a URL, of what redis-py overlooks or would tell with a password in it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "the host or the port can't be read"
    if parts.scheme not in ("redis", "rediss", "unix") or not url[len(parts.scheme) :].startswith("://"):
        return "it begins otherwise"
    if parts.scheme == "unix":
        fault = None if parts.path else "there is no path"
    else:
        fault = None if re.fullmatch(r"/?\d*/?", parts.path, re.ASCII) else "the database isn't a number"
    dbs = parse_qs(parts.query).get("db", ["0"])
    return fault if re.fullmatch(r"\d+", dbs[0], re.ASCII) else "the database isn't a number"


def harmless(url: str) -> str:
    """A URL as it may be shown: whole, if there can't be a password in it."""
    if re.fullmatch(r"(\w+:/*)?[\w.-]*((?<=[\w.-]):\d{0,5})?(/[\w.-]*)*", url, re.ASCII):
        return url
    scheme, found, _ = url.partition("://")
    return f"{scheme}://..." if found and scheme.isalpha() else "..."

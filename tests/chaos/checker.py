"""Says where the record of a run breaks the rules that a fleet keeps.

Each rule looks at a whole history and gives violations. Where the record leaves open what happened (a reply
that didn't come, a list that nobody read in time), a rule keeps silent: what it tells of has happened.
"""

from __future__ import annotations

from . import fleet_rules, member_rules
from .history import RULES, History, Violation, excerpt

__all__ = ["RULES", "History", "Violation", "check", "excerpt", "fleet_rules", "member_rules"]


def check(history: History) -> list[Violation]:
    """All violations, each once, in the order of time."""
    found = {Violation(name, *one) for name, broken in RULES.items() for one in broken(history)}
    return sorted(found, key=lambda violation: violation.at)

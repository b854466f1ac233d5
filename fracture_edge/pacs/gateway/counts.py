"""Counts of a gateway since its start, for messages and the status file."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Counts:
    """Counts of what has happened; its methods may be called by every thread.

    Attributes:
        received: Images that were acknowledged and are answered.
        own: Results of this program that came back and were dropped.
        passed_over: Images that rules passed over, by name of the rule.
        refused: Images that were not acknowledged, by reason.
        rejected: Connections and associations that were refused, by reason.
        answered: Images with results.
        unanswered: Images without results, by reason.
        sent: Results that a target has acknowledged.
        failed: Attempts to send a result that failed.
        dead: Results that became dead letters.
    """

    received: int = 0
    own: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    failed: int = 0
    dead: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, name: str, reason: str | None = None) -> int:
        """Add one to a count.

        Args:
            name: Name of the attribute.
            reason: Reason or rule, for the counts that are by one.

        Returns:
            New value.
        """
        with self._lock:
            if reason is None:
                value: int = getattr(self, name) + 1
                setattr(self, name, value)
            else:
                counter: Counter[str] = getattr(self, name)
                counter[reason] += 1
                value = counter[reason]
            return value

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        with self._lock:
            return {
                name: dict(value) if isinstance(value, Counter) else value
                for name in self.__slots__
                if not name.startswith("_")
                for value in (getattr(self, name),)
            }

    def text(self) -> str:
        """Return the counts that are not zero as one line."""
        parts = []
        for name, value in self.to_json().items():
            words = name.replace("_", " ")
            if isinstance(value, dict) and value:
                reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(value.items()))
                parts.append(f"{sum(value.values())} {words} ({reasons})")
            elif value and not isinstance(value, dict):
                parts.append(f"{value} {words}")
        return ", ".join(parts) or "nothing yet"

"""The table `sub_topics`: what rules of the cloud have subscribed to, kept over restarts (spec 04 §5.4)."""

from __future__ import annotations

import apsw

# Script for `Database(schema=...)`, upstream's table word for word.
SCHEMA = ("CREATE TABLE IF NOT EXISTS `sub_topics` (`topic` text,PRIMARY KEY (`topic`))",)

ALL = "SELECT topic FROM sub_topics ORDER BY topic"


def add(connection: apsw.Connection, text: str) -> None:
    """Keep a filter."""
    connection.execute("INSERT OR REPLACE INTO sub_topics (topic) VALUES (?)", (text,))


def remove(connection: apsw.Connection, text: str) -> None:
    """Forget a filter."""
    connection.execute("DELETE FROM sub_topics WHERE topic = ?", (text,))

"""Tables of MetaManager: upstream's two, word for word (spec 05 §2.1), and one of our own."""

from __future__ import annotations

# Scripts for `Database(schema=...)`. kubeedge_token finds a stored token by what was asked for: upstream's key in
# `meta` is made from the answer, in which the API server has filled in the audiences (spec 05 Q3).
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS `meta` (`key` text,`type` text,`value` text,PRIMARY KEY (`key`))",
    "CREATE TABLE IF NOT EXISTS `meta_v2` (`key` text,`group_version_resource` text,`namespace` text,`name` text,"
    "`resource_version` integer,`value` text,PRIMARY KEY (`key`))",
    "CREATE TABLE IF NOT EXISTS kubeedge_token (request TEXT PRIMARY KEY, key TEXT NOT NULL) WITHOUT ROWID",
)

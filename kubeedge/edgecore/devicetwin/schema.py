"""Tables of DeviceTwin: upstream's three, word for word (spec 04 §3.3), and one of our own."""

from __future__ import annotations

# Scripts for `Database(schema=...)`. kubeedge_twin_unsent names what the cloud may not have heard of: a twin, or with
# an empty name the state of the device. It outlives a restart of edgecore (spec 04 Q13).
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS `device` (`id` text,`name` text,`description` text,`state` text,`last_online` text,"
    "PRIMARY KEY (`id`))",
    "CREATE TABLE IF NOT EXISTS `device_attr` (`id` integer PRIMARY KEY AUTOINCREMENT,`deviceid` text,`name` text,"
    "`description` text,`value` text,`optional` numeric,`attr_type` text,`metadata` text)",
    "CREATE TABLE IF NOT EXISTS `device_twin` (`id` integer PRIMARY KEY AUTOINCREMENT,`deviceid` text,`name` text,"
    "`description` text,`expected` text,`actual` text,`expected_meta` text,`actual_meta` text,`expected_version` text,"
    "`actual_version` text,`optional` numeric,`attr_type` text,`metadata` text)",
    "CREATE TABLE IF NOT EXISTS kubeedge_twin_unsent (device TEXT NOT NULL, name TEXT NOT NULL,"
    "PRIMARY KEY (device, name)) WITHOUT ROWID",
)

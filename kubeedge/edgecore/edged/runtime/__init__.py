"""Container runtimes of edged behind one interface: `process` (supervised local processes) and, later, CRI."""

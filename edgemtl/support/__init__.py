"""Which operators run where: one table, read off the tables that code generation and quantisation use."""

from edgemtl.support.table import COLUMNS, OPERATORS, Entry, find_entry

__all__ = ["COLUMNS", "OPERATORS", "Entry", "find_entry"]

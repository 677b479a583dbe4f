"""Compact models of the families of multi-task networks; docs/families.md says what the compiler makes of each."""

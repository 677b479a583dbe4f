"""The command line: one verb, one call; the only room that prints or knows exit codes."""

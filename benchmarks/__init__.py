"""Speed, compared interleaved in one run; nothing here is a test."""

"""Rooms: a rendered indoor world with exact labels, and the demo model trained on it."""

"""How many random cases the tests draw where they do not say: 20 as a rule, 200 with --hypothesis-profile=full."""

from hypothesis import settings

settings.register_profile("short", max_examples=20, deadline=None, derandomize=True)
settings.register_profile("full", max_examples=200, deadline=None)
settings.load_profile("short")

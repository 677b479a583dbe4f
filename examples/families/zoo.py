"""Every family, in the order of the table."""

from examples.families import adapters, dense, image_gates, language, mixtures, pathways, recommenders

ROOMS = (mixtures, image_gates, recommenders, pathways, adapters, language, dense)
FAMILIES = tuple(family for room in ROOMS for family in room.FAMILIES)

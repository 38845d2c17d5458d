"""Measures proxies beside each other: the same work, the same cores, taking turns."""

"""Scores of proposed items: several sources' words weighed together."""

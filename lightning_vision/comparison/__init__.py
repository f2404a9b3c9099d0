"""Comparisons of strategies, seeds and settings on one stream: the plan, its execution, and the folder."""

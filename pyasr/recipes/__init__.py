"""Recipes: how a recognizer is trained and judged on a public data set."""

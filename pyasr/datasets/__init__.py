"""Loaders of public data sets in their official layout. Nothing is ever stored in the project."""

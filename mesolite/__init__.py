"""Mesolite."""

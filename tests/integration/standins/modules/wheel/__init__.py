"""Stands in for the program `wheel`: what it unpacks and packs is a zip archive."""

"""Stands in for the program `build`: it runs the setup.py of the folder that it is called in."""

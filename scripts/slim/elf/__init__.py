"""Shared objects, bytes to bytes: which GPU code stays, and the ELF file around it."""

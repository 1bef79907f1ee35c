"""Promotion on another server than Debian's docker-registry: Pulp, which asks for tokens and redirects to its blobs."""

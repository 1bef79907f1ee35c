"""A registry's API: names, credentials, and a client that works on bytes."""

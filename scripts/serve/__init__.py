"""A stamped image as a server: in its container, reached through one port of 127.0.0.1, until Ctrl-C."""

"""audit: which GPU code a wheel, a folder or an image really carries, and whether a target can run it. Needs no GPU."""

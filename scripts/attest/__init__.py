"""What is said of an image, as in-toto statements in signed envelopes. It works on bytes and asks nobody."""

"""compile: locked sources become wheels, in BuildKit and without a network; each is kept by all that went into it."""

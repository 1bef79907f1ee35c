"""smoke: a locked-down container on the target loads a model, serves it, and is compared with a reference."""

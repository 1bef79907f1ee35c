"""models: small language models made from a seed, one for each kind of kernel, and what each answers in float64."""

"""compare: engines side by side on one GPU, asked by one client; a report of each number, or of why there is none."""

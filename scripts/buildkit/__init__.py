"""One run of a BuildKit build, whoever runs BuildKit: the command, its progress, its log, and what a failure means."""

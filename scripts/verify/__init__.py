"""What a consumer does with an image before running it: asks what it was tested for, and by whom that is said."""

"""What an owner of a GPU saw there, as one file: written where it was seen, and checked before it counts."""

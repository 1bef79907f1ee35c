"""What stands in an image itself: standard library only, for it imports nothing of this program there."""

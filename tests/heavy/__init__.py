"""Tests with a real engine that take too long, or need too much disk, to run with every change."""

"""update: newer upstream versions that fit together, for the recipes that take upstream's wheels."""

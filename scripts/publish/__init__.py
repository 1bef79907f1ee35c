"""publish: tags by digest, never re-pushing, and the evidence attached."""

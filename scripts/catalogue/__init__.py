"""catalogue: the page a person picks a tag from, made of the matrix, the locks, the feed and the evidence."""

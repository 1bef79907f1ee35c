"""OCI images as bytes: descriptors, layouts, archives, blobs; layers walked and laid over each other."""

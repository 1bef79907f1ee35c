"""What people read at the end: tables, and the problems under them."""

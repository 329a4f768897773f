"""How good the pictures are, and what precision, folding and tiles change of them."""

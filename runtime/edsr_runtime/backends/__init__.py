"""What runs a model: one module per inference engine, behind one small interface."""

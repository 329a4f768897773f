"""Photographs to train and to validate on: ``sets`` finds them, ``training_set`` cuts patches from them."""

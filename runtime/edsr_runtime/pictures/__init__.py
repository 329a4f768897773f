"""Picture files in and out: ``read.read_picture``, ``write.open_writer``, ``write.write_picture``.

The names live in their modules, so that importing this package loads neither Pillow nor tifffile nor imagecodecs.
"""

"""What a checkpoint of each network looks like, in our format and in those of others; ``registry`` lists them all."""

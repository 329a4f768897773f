"""What people use today, as they use it: the unfolded network, in one small module for each tool."""

"""Result files as tables, plots and a page, and one beside another."""

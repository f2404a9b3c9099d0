"""What run directories say together: the numbers, the tables, the charts and the page."""

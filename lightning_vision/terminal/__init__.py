"""What is said in the terminal: wording, the progress bar, lines from the first rank alone, and the parser that refuses."""

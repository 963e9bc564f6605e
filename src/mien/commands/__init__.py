"""What follows `mien VERB` on the command line, turned into a call of the verb; a function a verb."""

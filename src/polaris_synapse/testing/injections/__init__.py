"""The injection suite: texts that try to command the desk through its readers, and benign ones to be read right."""

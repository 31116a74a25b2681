"""Does the served model say what the evaluated one said?"""

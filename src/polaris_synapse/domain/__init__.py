"""The vocabulary of the desk: instruments, money, orders, messages and reason codes. Imports nothing of ours."""

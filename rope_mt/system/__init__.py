"""What the machine gives to a command: files, locks, disk space, a device, memory, and a place to show progress."""

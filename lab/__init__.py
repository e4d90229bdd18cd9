"""The command line and the report pages: imports all rooms, nothing imports it."""

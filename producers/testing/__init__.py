"""For the tests of services that send commands: a client in memory, and a fixture of pytest."""

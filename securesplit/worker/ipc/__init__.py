"""Messages between a front and its tail processes, over a pair of sockets that nobody else can reach."""

"""Sources on the network: their addresses, and how they are connected to. No other code of reading uses the network."""

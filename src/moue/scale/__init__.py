"""Work that is spread over many processes or machines."""

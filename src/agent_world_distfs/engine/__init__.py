"""What every operation is made of: bytes in, bytes out, leases, and who names what."""

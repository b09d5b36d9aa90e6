"""What those who write an adapter, or a plug of their own, test it with."""

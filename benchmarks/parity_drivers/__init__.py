"""One driver for each adapter: it plays a scenario of the parity suite through the adapter's real framework."""

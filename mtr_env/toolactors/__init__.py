"""ToolActors: call -> response. ``grounded`` is the default and needs no model; ``noise`` wraps any of them."""

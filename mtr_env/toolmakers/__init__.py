"""ToolMakers: question -> toolset. ``template`` is the default and needs no model."""

"""Worlds: where questions come from. Four data sets (``dataset``) and a procedural one (``synthetic``)."""

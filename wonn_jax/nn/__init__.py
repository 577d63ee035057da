"""Layers of oscillators and what connects them."""

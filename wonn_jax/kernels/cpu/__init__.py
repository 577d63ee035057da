"""Code written for CPUs."""

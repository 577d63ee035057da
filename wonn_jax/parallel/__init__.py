"""Devices and hosts: the mesh, grids split over devices, processes."""

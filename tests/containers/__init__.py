"""Containers as namespaces, without images: what a kernel does for a container, where none can be run.

A container has a network, processes, a host name and a file system of its own: the root of this machine below an
overlay, so that the programs of this machine are those of the image. ``docs/examples/containers/compose.yaml`` is run
that way. It needs Linux, root and overlayfs.
"""

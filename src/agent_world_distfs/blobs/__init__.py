"""Blob storage: the bytes of large blobs."""

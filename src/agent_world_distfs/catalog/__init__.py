"""Catalogs: paths, pins and blob rows in a transactional database."""

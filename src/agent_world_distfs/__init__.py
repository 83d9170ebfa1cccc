"""DistFS: the file layer that many processes share."""

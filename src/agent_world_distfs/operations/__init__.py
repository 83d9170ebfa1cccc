"""What a store can do, one room each: free functions over catalog and blob storage."""

"""What a user types about hot folders and catalogues."""

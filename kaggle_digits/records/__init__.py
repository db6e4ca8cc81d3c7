"""What the wings leave to one another in the workspace; each record has one reader and writer."""

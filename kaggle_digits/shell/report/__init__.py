"""The report: one HTML page of a workspace. Sections live in the wings, the frame is here."""

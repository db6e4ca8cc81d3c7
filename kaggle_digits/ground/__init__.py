"""The ground floor: values, files and errors; nothing beyond the standard library."""

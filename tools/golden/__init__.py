"""What the golden files hold: `valid` and `invalid` list them, `builder` puts them together."""

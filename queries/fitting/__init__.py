"""What SQL cannot fit: pure functions, frames and arrays in, rows out. Nothing here knows a database."""

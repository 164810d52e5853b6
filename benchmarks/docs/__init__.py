"""The documentation keeps true: what its commands print, its pictures, its list of errors."""

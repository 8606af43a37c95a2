"""The checks of `doctor`; each looks at one thing and raises or yields what it found."""

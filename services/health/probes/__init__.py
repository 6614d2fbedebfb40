"""What health looks at, one module for each part of an observation."""

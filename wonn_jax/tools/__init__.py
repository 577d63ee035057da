"""What people look at: puzzles, pictures, reports, costs."""

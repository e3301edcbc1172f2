"""Programs that show what Mesolite is for, and the tasks that they run."""

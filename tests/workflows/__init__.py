"""The workflows of .github/workflows, run: a small runner of jobs and steps, and what stands in for the world."""

"""Things of an owner that belong to no project: tags and scratch."""

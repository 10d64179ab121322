"""Parts that the plans and readers of several agents share."""

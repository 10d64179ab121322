"""`relay doctor`: examine the services, this node and its executions. Facts are gathered apart from their judgement."""

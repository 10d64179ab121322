"""The bytes of logs: appended by the owner of an execution, merged into larger chunks, read in any range."""

"""The client of relay-pid1, the first process of a workspace container (docs/pid1-protocol.md).

It is shaped for the port `relay_workers.containers.port.Containers`, which does not use it yet. The methods of that
port map to `client.Pid1Client` as follows; the others stay requests to the engine.

============================  ========================================================================================
``Containers``                here
============================  ========================================================================================
``ensure_container``          `channel.BootstrapListener` before the start of the container, `hand_over` after it
``start``                     `Pid1Client.start`, with the files of `record` and of the logs opened by the worker
``exec_state``                `Pid1Client.status`; without an answer, `record.read` and `record.is_held`
``declare_never_started``     `Pid1Client.forbid` (today a method of `RunDir`)
``leftover_names``            `Pid1Client.leftovers`
``kill_execution``            `Pid1Client.kill`; the pids limit and the end of the init stay with the engine
``end_leftovers``             nothing: PID 1 kills every process that belongs to no execution by itself
``PortForwarder``             `Pid1Client.dial`
============================  ========================================================================================
"""

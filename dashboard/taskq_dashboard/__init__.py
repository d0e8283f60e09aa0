"""The operator's view of taskq, built on the inspector and the control. `taskq` never imports it."""

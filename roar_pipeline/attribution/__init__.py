"""Attribution maps: methods on networks, controls, and the files that hold their maps."""

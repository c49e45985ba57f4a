"""``vodray demo``: plays the platform around vodray, over the same interfaces as a real one."""

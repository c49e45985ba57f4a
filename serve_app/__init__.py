"""HTTP (Ray Serve), command line and embedded services. Reaches actors only through actors.client."""
